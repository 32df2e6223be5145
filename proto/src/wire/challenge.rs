//! The signed, one-time, expiring offer to link: PROTOCOL.md section 3.
