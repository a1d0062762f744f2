package cgpt_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzCommands checks that no image makes a command panic, and that commands
// that only look, or refuse, write nothing. The input is both headers and the
// first sector of both arrays of a generated image; with seal the checksums
// are made right.
func FuzzCommands(f *testing.F) {
	const last = sectors - 1
	for seed := range uint64(12) {
		m, _ := generate(seed)
		f.Add(m.sector(1)[:92], m.sector(last)[:92], m.sector(2), m.sector(last-array), seed%2 == 0)
	}
	path := inMemory(f)
	f.Fuzz(func(t *testing.T, h1, h2, e1, e2 []byte, seal bool) {
		m := make(image, sectors*512)
		for n, b := range map[int][]byte{1: h1, last: h2, 2: e1, last - array: e2} {
			copy(m.sector(n), b)
		}
		for h, e := range map[int]int{1: 2, last: last - array} {
			if seal {
				binary.LittleEndian.PutUint32(m.sector(h)[88:], crc32.ChecksumIEEE(m[e*512:][:array*512]))
				m.reseal(h)
			}
		}
		require.NoError(t, os.WriteFile(path, m, 0o644))
		for _, args := range [][]string{
			{"show", "-dv"}, {"show", "-dn"}, {"show", "-q"}, {"show", "-i", "1"}, {"find", "-v", "-l", "USR-A"}, {"boot"},
		} {
			run(append(args, path)...)
		}
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, []byte(m), after)
		for _, args := range [][]string{
			{"prioritize"}, {"add", "-i", "1", "-P", "3"}, {"next"}, {"resize", "-i", "1", "-m", "0"}, {"repair"}, {"legacy", "-e"}, {"legacy"},
		} {
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			if run(append(args, path)...).code == 0 {
				continue
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, before, after, "cgpt %q refused and wrote", args)
		}
	})
}
