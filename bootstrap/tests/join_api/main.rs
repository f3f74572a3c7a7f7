//! The join API over real TLS, asked by the masters' own client and by hostile ones.

mod hostile;
mod lab;
mod story;
