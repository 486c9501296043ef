#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| enid_fuzz::dashboard(data));
