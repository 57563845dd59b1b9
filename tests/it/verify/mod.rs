//! The judge of responses against everything that can be wrong with one, and against openssl.
//!
//! [`faults`] is what must be refused, [`sound`] what must be accepted although it is odd, and
//! [`signers`] the kinds of CAs and signers, with `openssl ocsp` as the responder.

mod command;
mod faults;
mod openssl;
mod random;
mod signers;
mod sound;
mod staples;
mod toy_ca;
mod world;
