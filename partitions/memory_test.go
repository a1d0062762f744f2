package partitions_test

import (
	"io"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

// memory is a sparse disk: only sectors that were written take memory.
type memory struct {
	size    int64
	sectors map[int64][512]byte
}

func newMemory(size int64) *memory { return &memory{size: size, sectors: map[int64][512]byte{}} }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		if off >= m.size {
			return n, io.EOF
		}
		s := m.sectors[off/512]
		c := copy(p[n:], s[off%512:])
		n, off = n+c, off+int64(c)
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > m.size {
		return 0, io.ErrShortWrite
	}
	for n := 0; n < len(p); {
		s := m.sectors[off/512]
		c := copy(s[off%512:], p[n:])
		m.put(off/512, s)
		n, off = n+c, off+int64(c)
	}
	return len(p), nil
}

// put stores a sector; one of zeros takes no memory, so that disks of equal
// content are equal values.
func (m *memory) put(lba int64, s [512]byte) {
	if s == [512]byte{} {
		delete(m.sectors, lba)
		return
	}
	m.sectors[lba] = s
}

func (m *memory) Sync() error { return nil }

func (m *memory) clone() *memory {
	c := newMemory(m.size)
	for k, v := range m.sectors {
		c.sectors[k] = v
	}
	return c
}

func (m *memory) zero(lba, n int64) {
	for i := range n {
		delete(m.sectors, lba+i)
	}
}

// ids gives test partitions their UUIDs.
func ids() func(string) uuid.UUID {
	return partitions.SeededUUIDs(uuid.MustParse("8d5d1a3e-52f1-4cf0-8c3b-3a2b1d0c4e5f"))
}

// defaultDisk is a disk with the default layout.
func defaultDisk(t testing.TB) *memory {
	t.Helper()
	l := partitions.DefaultLayout(ids())
	m := newMemory(l.DiskSize())
	require.NoError(t, partitions.Create(m, m.size, l))
	return m
}

func mustRead(t testing.TB, m *memory) *partitions.Table {
	t.Helper()
	table, err := partitions.Read(m, m.size, 512)
	require.NoError(t, err)
	return table
}
