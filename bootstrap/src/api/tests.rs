//! The API over HTTP, request by request.
