package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Cut is what becomes of connections across a partition.
type Cut int

const (
	// Stall loses every packet: existing connections fall silent and go on after Heal; a dial waits
	// until its context ends.
	Stall Cut = iota + 1
	// Reset breaks existing connections and fails every dial at once: there is no way there.
	Reset
	// Refuse breaks existing connections and refuses every dial, as the system of a killed process
	// does for it, and a firewall that rejects.
	Refuse
)

// Network is a network within one process, for tests: it works in the virtual time of a
// testing/synctest bubble and can be partitioned. Partitions are between hosts; see Host.
type Network struct {
	mu        sync.Mutex // guards all fields; taken before a pipe's
	listeners map[string]*listener
	hosts     map[string]string // address → host that listened there last
	links     map[*link]struct{}
	cuts      map[[2]string]Cut // by sorted pair
	oneWay    map[[2]string]Cut // by the host that dials and the one that is dialed
	undialed  map[[2]string]Cut // so too; connections that are there go on
	isolated  map[string]Cut
	wires     map[[2]string]*wire // by sender and receiver: the slow ones
	changed   chan struct{}       // closed and replaced by Heal
	lastPort  int
}

// link is one connection, between two hosts.
type link struct {
	from, to string
	there    *pipe
	back     *pipe
	open     int // ends not closed yet
}

type addr string

func (addr) Network() string  { return "memory" }
func (a addr) String() string { return string(a) }

// New returns an empty network. In a bubble it must be made there.
func New() *Network {
	return &Network{
		listeners: map[string]*listener{},
		hosts:     map[string]string{},
		links:     map[*link]struct{}{},
		cuts:      map[[2]string]Cut{},
		oneWay:    map[[2]string]Cut{},
		undialed:  map[[2]string]Cut{},
		isolated:  map[string]Cut{},
		wires:     map[[2]string]*wire{},
		changed:   make(chan struct{}),
	}
}

// Host is the network as one named host sees it: what it listens on and dials is subject to that
// host's partitions.
type Host struct {
	network *Network
	name    string
}

// Host returns the network as the named host sees it.
func (m *Network) Host(name string) Host { return Host{m, name} }

// Listen listens on an address of the form host:port; port 0 is a free one.
func (h Host) Listen(address string) (net.Listener, error) { return h.network.listen(h.name, address) }

// Dial connects to who listens on the address.
func (h Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	return h.network.dial(ctx, h.name, address)
}

// Listen listens on an address as a host without a name.
func (m *Network) Listen(address string) (net.Listener, error) { return m.listen("", address) }

// Dial connects as a host without a name, which reaches everybody that is not cut off from "".
func (m *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	return m.dial(ctx, "", address)
}

// Partition cuts two hosts off from each other.
func (m *Network) Partition(how Cut, a, b string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cuts[pair(a, b)] = how
	m.applyCuts()
}

// OneWay cuts the connections that one host dialed, or dials, to another one. Those from there to here go on, both ways,
// as behind a firewall that lets nobody in.
func (m *Network) OneWay(how Cut, from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.oneWay[[2]string{from, to}] = how
	m.applyCuts()
}

// Undialed cuts off dials from one host to another; connections that are there go on. So does a firewall that knows
// which connections were there before.
func (m *Network) Undialed(how Cut, from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.undialed[[2]string{from, to}] = how
}

// Isolate cuts a host off from all other named hosts.
func (m *Network) Isolate(how Cut, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.isolated[name] = how
	m.applyCuts()
}

// Heal ends all partitions.
func (m *Network) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.cuts)
	clear(m.oneWay)
	clear(m.undialed)
	clear(m.isolated)
	m.applyCuts()
	close(m.changed)
	m.changed = make(chan struct{})
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// cut says how connections from a to b are cut; 0: they are not. The caller holds mu.
func (m *Network) cut(a, b string) Cut {
	how := max(m.cuts[pair(a, b)], m.oneWay[[2]string{a, b}])
	if a != b && a != "" && b != "" {
		how = max(how, m.isolated[a], m.isolated[b])
	}
	return how
}

// applyCuts brings every connection into the state that the cuts ask for. The caller holds mu.
func (m *Network) applyCuts() {
	for l := range m.links {
		how := m.cut(l.from, l.to)
		for _, p := range []*pipe{l.there, l.back} {
			p.change(func() {
				p.stalled = how == Stall
				p.reset = p.reset || how == Reset || how == Refuse
			})
		}
	}
}

func (m *Network) listen(host, address string) (net.Listener, error) {
	h, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if port == "0" {
		m.lastPort++
		address = net.JoinHostPort(h, fmt.Sprint(49151+m.lastPort))
	}
	if m.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "memory", Addr: addr(address), Err: syscall.EADDRINUSE}
	}
	l := &listener{
		network: m,
		address: address,
		// As long as a small accept queue of an operating system.
		backlog: make(chan net.Conn, 128),
		done:    make(chan struct{}),
	}
	m.listeners[address], m.hosts[address] = l, host
	return l, nil
}

func (m *Network) dial(ctx context.Context, host, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: addr(address), Err: err}
	}
	for {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		m.mu.Lock()
		to, changed := m.hosts[address], m.changed
		how := max(m.cut(host, to), m.undialed[[2]string{host, to}])
		if how == 0 {
			conn, err := m.connect(host, address)
			m.mu.Unlock()
			if err != nil {
				return fail(err)
			}
			return conn, nil
		}
		m.mu.Unlock()
		switch how {
		case Reset:
			return fail(syscall.EHOSTUNREACH)
		case Refuse:
			return fail(syscall.ECONNREFUSED)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// connect makes a connection and queues its far end. The caller holds mu.
func (m *Network) connect(host, address string) (net.Conn, error) {
	l := m.listeners[address]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	m.lastPort++
	local := addr(fmt.Sprintf("%s:%d", host, 49151+m.lastPort))
	between := &link{from: host, to: m.hosts[address], there: newPipe(), back: newPipe(), open: 2}
	between.there.wire, between.back.wire = m.wires[[2]string{between.from, between.to}], m.wires[[2]string{between.to, between.from}]
	onClose := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if between.open--; between.open == 0 {
			delete(m.links, between)
		}
	}
	near := &pipeConn{local: local, remote: addr(address), in: between.back, out: between.there, onClose: onClose}
	far := &pipeConn{local: addr(address), remote: local, in: between.there, out: between.back, onClose: onClose}
	select {
	case l.backlog <- far:
	default:
		return nil, syscall.ECONNREFUSED
	}
	m.links[between] = struct{}{}
	return near, nil
}

type listener struct {
	network *Network
	address string
	backlog chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
	default:
		select {
		case conn := <-l.backlog:
			return conn, nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "memory", Addr: l.Addr(), Err: net.ErrClosed}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.address)
		l.network.mu.Unlock()
		close(l.done)
		for {
			select {
			case conn := <-l.backlog:
				_ = conn.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.address) }
