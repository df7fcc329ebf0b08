//! What is read, what is refused, and what is told of what is refused.
