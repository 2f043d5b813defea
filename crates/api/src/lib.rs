//! Placeholder.

/// Generated code, one module a package.
pub mod pb {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    /// `puro.blob`.
    pub mod blob {
        /// `puro.blob.v1`.
        pub mod v1 {
            tonic::include_proto!("puro.blob.v1");
        }
    }
    /// `puro.metadata`.
    pub mod metadata {
        /// `puro.metadata.v1`.
        pub mod v1 {
            tonic::include_proto!("puro.metadata.v1");
        }
    }
}
