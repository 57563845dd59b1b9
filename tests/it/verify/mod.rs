//! The judge of responses against everything that can be wrong with one, and against openssl.

mod toy_ca;
