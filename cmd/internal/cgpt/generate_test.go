package cgpt_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"slipway/cmd/internal/cgpt"
	"slipway/partitions"
)

type result struct {
	out, errs string
	code      int
}

// run runs our program.
func run(args ...string) result { return runDrawing(uuid.NewSHA1(uuid.NameSpaceOID, nil), args...) }

// runDrawing runs our program with the UUID that it makes where none is given.
func runDrawing(id uuid.UUID, args ...string) result {
	var out, errs bytes.Buffer
	code := cgpt.Main(args, cgpt.Env{
		Name: "cgpt", Stdout: &out, Stderr: &errs,
		NewUUID: func() uuid.UUID { return id },
		Dev:     "/dev", Proc: "/proc", Sys: "/sys", Stat: stat,
	})
	return result{out.String(), errs.String(), code}
}

// inMemory is a place for an image file, in memory if there is such a file
// system: syncs cost nothing there.
func inMemory(t testing.TB) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cgpt")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "disk.img")
}

const (
	sectors = 4096
	array   = 32
)

// image is a disk in memory.
type image []byte

func (m image) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, m[off:]), nil
}

func (m image) WriteAt(p []byte, off int64) (int, error) {
	return copy(m[off:], p), nil
}

func (m image) Sync() error { return nil }

func (m image) sector(n int) []byte { return m[n*512:][:512] }

// reseal makes a header's checksum right after a change.
func (m image) reseal(sector int) {
	h := m.sector(sector)
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

// generate makes a disk from a seed: a table with some partitions, and up to
// two things that are odd or broken about it. Seed 0 is a disk of zeros.
func generate(seed uint64) (m image, faults int) {
	rng := rand.New(rand.NewPCG(seed, 7))
	m = make(image, sectors*512)
	if seed == 0 {
		return m, 0
	}
	id := func(name string) uuid.UUID {
		return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, seed, name))
	}
	if err := partitions.CreateEmpty(m, int64(len(m)), partitions.Empty{SectorSize: 512, DiskUUID: id("disk")}); err != nil {
		panic(err)
	}
	t, err := partitions.Read(m, int64(len(m)), 512)
	if err != nil {
		panic(err)
	}
	var c partitions.Change
	start := int64(34)
	for n := 1; n <= 12; n++ {
		if rng.IntN(3) == 0 {
			continue
		}
		start += rng.Int64N(20)
		p := partitions.Partition{
			Number: n, Label: labels()[rng.IntN(len(labels()))], Type: kind(rng), UUID: id(fmt.Sprint(n)),
			Start: start, Size: 1 + rng.Int64N(200),
			Attributes: partitions.Slot(rng.IntN(16), rng.IntN(16), rng.IntN(2) == 0),
		}
		if rng.IntN(2) == 0 {
			p.Attributes = partitions.Attributes(rng.Uint64())
		}
		if rng.IntN(6) == 0 {
			p.Number += 110 // up to 122
		}
		c.Put = append(c.Put, p)
		start += p.Size
	}
	if err := partitions.Update(m, t, c); err != nil {
		panic(err)
	}
	faults = rng.IntN(3)
	for range faults {
		spoil(m, rng)
	}
	return m, faults
}

func labels() []string {
	return []string{"", "USR-A", "USR-B", "EFI-SYSTEM", "ROOT", "mit Leerzeichen", "Größe", "日本語のラベル", "😀", "thirty-five characters, not one more"}
}

// kind draws a type that both programs know, or one that neither does.
func kind(rng *rand.Rand) uuid.UUID {
	known := []string{"kernel", "kernel", "kernel", "rootfs", "data", "basicdata", "reserved", "efi", "firmware", "minios", "hibernate"}
	n := rng.IntN(len(known) + 1)
	if n == len(known) {
		return uuid.NewSHA1(uuid.NameSpaceOID, []byte("unknown"))
	}
	id, _ := partitions.ParseType(known[n])
	return id
}

// spoil damages an image in one of many ways.
func spoil(m image, rng *rand.Rand) {
	last := sectors - 1
	le := binary.LittleEndian
	switch rng.IntN(14) {
	case 0:
		clear(m.sector(1))
	case 1:
		clear(m.sector(last))
	case 2:
		clear(m.sector(2))
	case 3:
		clear(m.sector(last - array))
	case 4:
		clear(m.sector(1))
		clear(m.sector(2))
	case 5:
		clear(m[(last-array)*512:])
	case 6: // a header with another disk's UUID, both valid
		m.sector(last)[60]++
		m.reseal(last)
	case 7: // the secondary table is of another state
		m.sector(last - array)[60] ^= 7
		le.PutUint32(m.sector(last)[88:], crc32.ChecksumIEEE(m[(last-array)*512:][:array*512]))
		m.reseal(last)
	case 8: // a wrong usable range
		le.PutUint64(m.sector(1)[48:], rng.Uint64N(2*sectors))
		m.reseal(1)
	case 9: // another revision
		m.sector(1)[8]++
		m.reseal(1)
	case 10: // a GUID before the partitions of the MBR, and its magic
		copy(m[424:], "0123456789abcdef")
	case 11: // more entries than there may be
		le.PutUint32(m.sector(1)[80:], 256)
		m.reseal(1)
	case 12: // the reserved field
		m.sector(last)[20] = 1
		m.reseal(last)
	case 13: // a stale label behind the end of a new one
		copy(m.sector(2)[56+20:], "s\x00t\x00a\x00l\x00e\x00")
		sum := crc32.ChecksumIEEE(m[1024:][:array*512])
		copy(m[(last-array)*512:], m[1024:][:array*512])
		for _, h := range []int{1, last} {
			le.PutUint32(m.sector(h)[88:], sum)
			m.reseal(h)
		}
	}
}

// commands are what is tried on an image, without the drive, in an order that
// depends on the seed but for show and repair, which come first.
func commands(seed uint64, content string) [][]string {
	rng := rand.New(rand.NewPCG(seed, 8))
	n := func(limit int) string { return fmt.Sprint(rng.IntN(limit)) }
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, seed, n(5))).String()
	part := fmt.Sprint(1 + rng.IntN(12))
	list := [][]string{
		{"show"}, {"show", "-v"}, {"show", "-n"}, {"show", "-nv"}, {"show", "-q"}, {"show", "-q", "-n"},
		{"show", "-i", part}, {"show", "-n", "-i", part}, {"sh", "-i" + part},
		{"show", "-i", "129"}, {"show", "-i", "0"}, {"show", "-b"}, {"show", "-i", part, "-b", "-s"}, {"show", "-x"}, {"show", "-i"},
		{"find", "-t", "kernel"}, {"find", "-t", "data", "-v"}, {"find", "-n", "-l", "USR-A"}, {"find", "-1", "-t", "efi"},
		{"find", "-u", id}, {"find", "-nv", "-l", "Größe"}, {"find", "-t", "kernel", "-M", content}, {"find", "-M", content, "-O", "9", "-t", "data"},
		{"repair"}, {"repair", "-v"},
		{"boot"}, {"boot", "-p"}, {"boot", "-i", part}, {"boot", "-i", "200"}, {"boot", "-b", content}, {"boot", "-b", "/nonexistent"},
		{"prioritize"}, {"prioritize", "-i", part}, {"prioritize", "-P", n(17), "-i", part}, {"prioritize", "-f", "-i", part}, {"prioritize", "-f"},
		{"legacy"}, {"legacy", "-e"}, {"legacy", "-p"}, {"legacy", "-p", "-e"},
		{"edit", "-u", id}, {"edit"},
		{"add", "-i", part, "-S", n(3), "-T", n(17), "-P", n(16)}, {"add", "-i", part, "-B", "1", "-R1"}, {"add", "-i", part, "-A", "0x1f3"},
		{"add", "-i", part, "-l", labels()[rng.IntN(len(labels()))]}, {"add", "-i", part, "-l", "an even longer label that does not fit at all"},
		{"add", "-i", part, "-t", "unused"}, {"add", "-i", part, "-b", n(300), "-s", n(300)}, {"add", "-i", part, "-b", "0x100"},
		{"add", "-u", id, "-b", "3000", "-s", "20", "-t", "data", "-l", "new"}, {"add", "-u", id, "-b", "4000", "-s", "200", "-t", "efi"},
		{"add", "-u", id, "-t", "unused", "-b", "3000", "-s", "1"}, {"add", "-t", "data"}, {"add", "-i", "129"},
		{"add", "-t", "rootfs", "-b", "3000", "-s", "20", "-A", "0x15f"}, {"add", "-i", part, "-R", n(3), "-B", n(3)},
		{"add", "-i", part, "-u", id, "-P", "1", "-S", "1"}, {"add", "-i", part, "-T", "3", "-P", "16"}, {"add", "-x"},
		{"create"}, {"create", "-z"}, {"create", "-p", n(3000)}, {"create", "-p", "x"},
		{"show", "-d"}, {"show", "-d", "-n"}, {"find", "-l", ""}, {"find"}, {"find", "-t", "nothing"}, {"find", "-O", "z", "-l", "x"},
		{"legacy", "-h"}, {"repair", "-x"}, {"edit", "-u", "x"}, {"prioritize", "-P", "0"}, {"boot", "-i", "x"},
	}
	for _, item := range "bstulSTPRBA" {
		list = append(list, []string{"show", "-i", part, "-" + string(item)})
	}
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return append([][]string{{"show"}, {"repair"}}, list...)
}
