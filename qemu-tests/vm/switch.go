package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Switch joins the network cards of machines: every frame that one sends all
// others get, unless the cable between two is cut. QEMU hands over frames by
// its "stream" network: four bytes of length, big endian, and the frame.
type Switch struct {
	listener net.Listener
	dir      string

	mu    sync.Mutex
	ports map[net.Conn]*port
	off   map[string]bool // addresses of cards that are unplugged
	done  sync.WaitGroup
}

// port is a card at the switch.
type port struct {
	mu      sync.Mutex
	conn    net.Conn
	address string // of the card, once it has sent something
}

// maxFrame bounds a frame, in bytes: QEMU's own limit.
const maxFrame = 69632

// NewSwitch makes a switch. Close it after the machines.
func NewSwitch() (*Switch, error) {
	dir, err := os.MkdirTemp("", "switch")
	if err != nil {
		return nil, err
	}
	s := &Switch{dir: dir, ports: map[net.Conn]*port{}, off: map[string]bool{}}
	if s.listener, err = net.Listen("unix", s.path()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.done.Go(s.accept)
	return s, nil
}

func (s *Switch) path() string { return filepath.Join(s.dir, "switch.sock") }

// Unplug takes the card with an address off the network, or puts it back.
func (s *Switch) Unplug(address string, off bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off[address] = off
}

// Close ends all connections.
func (s *Switch) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for conn := range s.ports {
		_ = conn.Close() // its reader ends
	}
	s.mu.Unlock()
	s.done.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Switch) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		p := &port{conn: conn}
		s.mu.Lock()
		s.ports[conn] = p
		s.mu.Unlock()
		s.done.Go(func() { s.serve(p) })
	}
}

// serve passes on what one card sends, until it is gone.
func (s *Switch) serve(p *port) {
	defer func() {
		s.mu.Lock()
		delete(s.ports, p.conn)
		s.mu.Unlock()
		_ = p.conn.Close()
	}()
	frame := make([]byte, 4+maxFrame)
	for {
		if _, err := io.ReadFull(p.conn, frame[:4]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(frame)
		if n < 14 || n > maxFrame {
			return
		}
		if _, err := io.ReadFull(p.conn, frame[4:4+n]); err != nil {
			return
		}
		s.pass(p, frame[:4+n])
	}
}

// pass sends a frame to all other cards.
func (s *Switch) pass(from *port, frame []byte) {
	s.mu.Lock()
	from.address = net.HardwareAddr(frame[10:16]).String()
	var to []*port
	for _, p := range s.ports {
		if p != from && !s.off[from.address] && !s.off[p.address] {
			to = append(to, p)
		}
	}
	s.mu.Unlock()
	for _, p := range to {
		p.mu.Lock()
		_, _ = p.conn.Write(frame) // a card that is gone ends its own reader
		p.mu.Unlock()
	}
}

// switchArgs is the guest's card at the switch.
func (c *Config) switchArgs() []string {
	if c.Switch == nil {
		return nil
	}
	return []string{
		"-netdev", "stream,id=switch,server=off,addr.type=unix,addr.path=" + escape(c.Switch.path()),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=switch,mac=%s", c.Address),
	}
}
