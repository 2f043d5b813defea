//! The blob service from outside: its core, its gRPC service, its crashes.

#[cfg(test)]
mod blobs;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod group_commit;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod large;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod served;
