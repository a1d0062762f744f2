package vm

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// card is a network card at a switch.
type card struct {
	net.Conn
	t       testing.TB
	address net.HardwareAddr
}

func newCard(t testing.TB, s *Switch, address string) *card {
	conn, err := net.Dial("unix", s.path())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	a, err := net.ParseMAC(address)
	require.NoError(t, err)
	return &card{conn, t, a}
}

// send sends a frame to everybody.
func (c *card) send(text string) {
	frame := append(bytes.Repeat([]byte{0xff}, 6), c.address...)
	frame = append(frame, 8, 0)
	frame = append(frame, text...)
	_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	require.NoError(c.t, err)
}

// receive gives the text of the next frame, "" if there is none.
func (c *card) receive(patience time.Duration) string {
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(patience)))
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return ""
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, frame)
	require.NoError(c.t, err)
	return string(frame[14:])
}

func TestSwitch(t *testing.T) {
	s, err := NewSwitch()
	require.NoError(t, err)
	a, b, c := newCard(t, s, "52:54:00:00:00:01"), newCard(t, s, "52:54:00:00:00:02"), newCard(t, s, "52:54:00:00:00:03")
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.ports) == 3
	}, 10*time.Second, time.Millisecond)
	a.send("to all")
	assert.Equal(t, "to all", b.receive(10*time.Second))
	assert.Equal(t, "to all", c.receive(10*time.Second))

	// Cards are known once they have sent something.
	b.send("here")
	c.send("there")
	for range 2 {
		a.receive(10 * time.Second)
	}
	c.receive(10 * time.Second)
	b.receive(10 * time.Second)
	s.Unplug("52:54:00:00:00:02", true)
	a.send("without b")
	assert.Equal(t, "without b", c.receive(10*time.Second))
	s.Unplug("52:54:00:00:00:02", false)
	a.send("again")
	assert.Equal(t, "again", b.receive(10*time.Second), "and nothing before")
	assert.Equal(t, "again", c.receive(10*time.Second))

	require.NoError(t, b.Close())
	a.send("still there")
	assert.Equal(t, "still there", c.receive(10*time.Second))
	require.NoError(t, s.Close())
	assert.Empty(t, a.receive(10*time.Second))
}
