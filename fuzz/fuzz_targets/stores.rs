#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reclaim_fuzz::stores(bytes));
