package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
)

// networkArgs is the guest's card in a network of QEMU's own, if it has one.
func (c *Config) networkArgs() []string {
	if len(c.Forward) == 0 && len(c.Reach) == 0 && !c.Online {
		if c.Switch != nil {
			return nil
		}
		return []string{"-nic", "none"}
	}
	nic := "user,model=virtio-net-pci"
	if !c.Online {
		nic += ",restrict=on"
	}
	for _, port := range slices.Sorted(maps.Keys(c.Forward)) {
		nic += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", port, c.Forward[port])
	}
	for _, address := range slices.Sorted(maps.Keys(c.Reach)) {
		command := quote(append(slices.Clone(c.Connector), c.Reach[address]))
		nic += escape(",guestfwd=tcp:" + address + "-cmd:" + command)[1:]
	}
	return []string{"-nic", nic}
}

// Connect connects standard input and output with a TCP address until one side
// ends. It is what a Connector does.
func Connect(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, err := io.Copy(conn, in)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		if err != nil {
			_ = conn.Close() // which ends the other direction
		}
	}()
	_, err = io.Copy(out, conn)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}
