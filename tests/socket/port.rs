//! Without a backend the port is closed: clients are refused at once, never left waiting.

use crate::support::{Backend, Behaviour, Client, Ending, Setup, until};

use super::reload::file;

#[test]
fn the_port_is_open_only_while_there_is_a_backend() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::default().config("backends = []\n").start();
    for _ in 0..2 {
        assert!(balancer.refuses());
        assert!(!balancer.status().listening);
        let ready = balancer.ask("GET", "/readyz");
        assert_eq!(ready.body, "not ready: no backend serves, the port is closed\n");

        balancer.reload(&file(&[backend.addr]), "applied");
        until("the port opens", || balancer.status().listening);
        let mut client = Client::established(balancer.addr).unwrap();
        assert_eq!(balancer.ask("GET", "/readyz").status, 200);

        balancer.reload("backends = []\n", "applied");
        until("the port closes", || balancer.refuses());
        client.echo(b"established sessions go on").unwrap();
        client.end();
        assert_eq!(client.ending(), Ending::Eof);
    }
    assert_eq!(balancer.status().connections.closed_total["client_ended"], 2);
}
