//! Any bytes as an OCSP request, or as the path of a GET that holds one: decoding does not panic, and
//! what was read is found in what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use staplekeeper::ocsp::Request;
use staplekeeper::serve::responder::readings;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert!(!request.questions().is_empty() && request.questions().len() <= bytes.len() / 10);
        for question in request.questions() {
            let (serial, key) = (question.serial(), question.issuer_key_hash());
            assert!(holds(bytes, serial.as_integer()) && holds(bytes, key), "{question:?}");
        }
    }
    if let Ok(path) = std::str::from_utf8(bytes) {
        for reading in readings(path) {
            assert!(reading.len() <= bytes.len() + 3);
            let _ = Request::decode(&reading);
        }
    }
});

fn holds(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}
