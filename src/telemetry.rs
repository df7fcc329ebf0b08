//! What the sidecar says about itself: metrics and logs.
