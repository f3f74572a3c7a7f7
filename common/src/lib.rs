//! The words and tools that the balancer (`lb`) and the coordinator (`bootstrap`) share.
//!
//! Neither of the two knows the other; what passes between them is defined here.
