//! Tests of keyed state against a plain model.
