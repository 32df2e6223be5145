/// A file below `proto/src/link`, a passage that stands there once, and what stands there instead.
type Edit = (&'static str, &'static str, &'static str);

/// Checks of the linking protocol, each taken out in a copy of its own.
const FLAWS: &[(&str, &[Edit])] = &[
    (
        "nonce_not_held_to_its_commitment",
        &[("shower/awaited.rs", "if proof::commitment(&accept.nonce, joiner) != self.claim.commitment {", "if false {")],
    ),
    (
        "later_nonce_not_held_to_its_commitment",
        &[("shower/awaited.rs", "if proof::commitment(&joiner, device) != self.commitment {", "if false {")],
    ),
    (
        "what_is_said_last_is_in_the_code",
        &[
            (
                "proof.rs",
                "transcript(exporter: &Exporter, claim: &Claim, offer: &Offer) -> Hash",
                "transcript(exporter: &Exporter, claim: &Claim, offer: &Offer, accept: &crate::link::message::Accept) -> Hash",
            ),
            ("proof.rs", "&offer.to_bytes()])", "&offer.to_bytes(), &accept.to_bytes()])"),
            ("shower/awaited.rs", "&self.claim, &self.offer)", "&self.claim, &self.offer, &accept)"),
            ("joiner/awaited.rs", "&self.claim, &self.offer)", "&self.claim, &self.offer, &accept)"),
        ],
    ),
    (
        "code_of_no_session",
        &[
            (
                "proof.rs",
                "&[&exporter.0, &claim.to_bytes(), &offer.to_bytes()]",
                "&[]",
            ),
            ("proof.rs", "&[&nonce.0, joiner.as_bytes()]", "&[&nonce.0]"),
        ],
    ),
    (
        "mac_of_no_session",
        &[("proof.rs", "[&exporter.0, challenge.shower.as_bytes(), joiner.as_bytes(), &role", "[&[], challenge.shower.as_bytes(), joiner.as_bytes(), &role")],
    ),
    (
        "mac_of_no_joiner",
        &[("proof.rs", "[&exporter.0, challenge.shower.as_bytes(), joiner.as_bytes(), &role", "[&exporter.0, challenge.shower.as_bytes(), &[], &role")],
    ),
    (
        "mac_of_neither_session_nor_joiner",
        &[("proof.rs", "[&exporter.0, challenge.shower.as_bytes(), joiner.as_bytes(), &role", "[&[], challenge.shower.as_bytes(), &[], &role")],
    ),
    (
        "mac_not_looked_at",
        &[("shower.rs", "key::same(&mac, &claim.mac) && claim.challenge", "mac.len() == claim.mac.len() && claim.challenge")],
    ),
    (
        "second_claimant_takes_over",
        &[("shower.rs", "Some(first) if first != joiner => {", "Some(first) if first != joiner && self.reclaims > RECLAIMS => {")],
    ),
    (
        "tries_counted_by_connection",
        &[("shower.rs", "            self.peer = None;\n", "            self.peer = None;\n            self.tries_left = limits::CODE_TRIES;\n")],
    ),
    (
        "challenge_not_used_up",
        &[("shower.rs", "        self.finish(CloseCode::Used);\n        right", "        right")],
    ),
    (
        "code_taken_after_expiry",
        &[("shower.rs", "if self.expired(now) {\n            return Confirm::Ended(CloseCode::Expired);", "if false {\n            return Confirm::Ended(CloseCode::Expired);")],
    ),
    (
        "consent_not_looked_at",
        &[("shower/awaited.rs", "if !key::verify(&joiner, \"consent\", &consent, &accept.consent) {", "if consent.is_empty() {")],
    ),
    (
        "offer_not_verified",
        &[("joiner.rs", "if !key::verify(&self.challenge.shower, \"offer\", &signed, &offer.signature) {", "if signed.is_empty() {")],
    ),
];
