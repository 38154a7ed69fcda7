#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| peer_data_server::fuzz::parcel::run(data));
