//! The proxy before a store: passes everything on, until it is told not to.

mod answer;
mod operation;
mod plan;
mod relay;
mod state;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

pub use operation::Service;
pub use plan::{Fault, Plan, Rule};
use relay::Relay;
use state::State;

/// An HTTP/1.1 proxy on a port of its own, before a server that speaks DynamoDB's or S3's protocol.
///
/// It runs on threads of its own, so blocking tests and asynchronous ones use it alike. Requests pass unchanged, the Host
/// header too, for the client's signature covers it. Faults are switched by [`FaultProxy::set`], [`FaultProxy::clear`],
/// [`FaultProxy::take_down`] and [`FaultProxy::bring_up`] while clients go on. When it is dropped its clients' connections
/// end.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    listeners: mpsc::UnboundedSender<(TcpListener, CancellationToken)>,
    open: std::sync::Mutex<Option<Open>>,
    /// Bound and never listening: keeps the port ours while connections are refused.
    _port: Socket,
    runtime: Option<Runtime>,
}

/// What is closed when the proxy is taken down.
#[derive(Debug)]
struct Open {
    listener: TcpListener,
    connections: CancellationToken,
}

impl FaultProxy {
    /// Starts before the server at a URL (`http://host:port`).
    ///
    /// # Panics
    /// When the URL is of no use, or there is no port.
    pub fn start(service: Service, upstream: &str) -> Self {
        let host = upstream.trim_start_matches("http://").trim_end_matches('/');
        let upstream = host.to_socket_addrs().ok().and_then(|mut found| found.next());
        let upstream = upstream.unwrap_or_else(|| panic!("{host:?} is no host and port"));
        let port = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = port.local_addr().ok().and_then(|at| at.as_socket()).expect("an address");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fault-proxy")
            .enable_all()
            .build()
            .expect("a runtime");
        let state = Arc::new(State::default());
        let (listeners, opened) = mpsc::unbounded_channel();
        let relay = Relay::new(service, upstream, state.clone());
        runtime.spawn(relay.run(opened));
        let proxy = Self {
            address,
            state,
            listeners,
            open: std::sync::Mutex::default(),
            _port: port,
            runtime: Some(runtime),
        };
        proxy.bring_up();
        proxy
    }

    /// Starts before the shared stand-in for DynamoDB.
    ///
    /// # Panics
    /// When that server is not there.
    pub fn before_dynamodb() -> Self {
        Self::start(Service::DynamoDb, &crate::dynamodb().endpoint)
    }

    /// Starts before the shared stand-in for S3.
    ///
    /// # Panics
    /// When that server is not there.
    pub fn before_s3() -> Self {
        Self::start(Service::S3, &crate::s3().endpoint)
    }

    /// Returns the URL that clients are to use instead of the server's.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does from now on what a plan says, in the place of what an earlier one said.
    pub fn set(&self, plan: impl Into<Plan>) {
        self.state.set(plan.into());
    }

    /// Passes everything on from now. A proxy that is down stays so.
    pub fn clear(&self) {
        self.state.set(Plan::default());
    }

    /// Refuses connections from now on, and resets those there are: the server is gone.
    pub fn take_down(&self) {
        self.state.set_down(true);
        let open = self.open.lock().expect("no panic while locked").take();
        if let Some(Open { listener, connections }) = open {
            // At once, whatever the task that accepts is doing.
            let _ = SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
            connections.cancel();
        }
    }

    /// Takes connections again, at the same address.
    ///
    /// # Panics
    /// When the system does not let it listen.
    pub fn bring_up(&self) {
        self.state.set_down(false);
        let mut open = self.open.lock().expect("no panic while locked");
        if open.is_some() {
            return;
        }
        let socket = bound(self.address);
        socket.listen(1024).expect("a listener");
        socket.set_nonblocking(true).expect("a listener that does not block");
        let listener = TcpListener::from(socket);
        let connections = CancellationToken::new();
        let other = listener.try_clone().expect("a second handle");
        self.listeners.send((other, connections.clone())).expect("the relay runs");
        *open = Some(Open { listener, connections });
    }

    /// Returns how many requests of each operation came, those included that met a fault. Operations have AWS's names:
    /// `PutItem`, `GetObject`.
    pub fn requests(&self) -> std::collections::BTreeMap<String, u64> {
        self.state.requests()
    }

    /// Returns how many requests of one operation came.
    pub fn requests_of(&self, operation: &str) -> u64 {
        self.requests().get(operation).copied().unwrap_or(0)
    }

    /// Returns how many requests met a fault. Connections refused are not among them.
    pub fn faults(&self) -> u64 {
        self.state.faults()
    }

    /// Begins to count anew.
    pub fn forget_counts(&self) {
        self.state.forget_counts();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.take_down();
        if let Some(runtime) = self.runtime.take() {
            // A test may be asynchronous itself, and must not wait here.
            runtime.shutdown_background();
        }
    }
}

/// Returns a socket at this address, which others of this process may have too.
fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("a port for two sockets");
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
    socket
}
