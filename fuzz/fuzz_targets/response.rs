//! Any bytes as an OCSP response: decoding neither panics nor loses a byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use staplekeeper::ocsp::Response;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(response.der(), bytes);
        let _ = (response.status().to_string(), response.responder(), response.produced_at());
        for answer in response.answers() {
            let _ = (answer.serial.to_string(), answer.this_update.to_string());
        }
    }
});
