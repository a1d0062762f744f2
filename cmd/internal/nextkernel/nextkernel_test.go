package nextkernel_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/erofs"
	"slipway/build/tree"
	"slipway/build/uki"
	"slipway/build/verity"
	"slipway/cmd/internal/kexec"
	"slipway/cmd/internal/nextkernel"
	"slipway/cmd/internal/slots"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

// signer signs with a key of the test's.
type signer struct{ private ed25519.PrivateKey }

func newSigner(seed byte) signer {
	return signer{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))}
}

func (s signer) key() key.Key {
	k, err := key.New(s.private.Public())
	if err != nil {
		panic(err)
	}
	return k
}

func (s signer) KeyID() string     { return s.key().ID }
func (s signer) Algorithm() string { return s.key().Algorithm }
func (s signer) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return ed25519.Sign(s.private, digest[:]), nil
}

// stub is a PE file without sections of its own but one, to add others to.
func stub() []byte {
	b := make([]byte, 1024)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	coff, opt, section := b[0x44:], b[0x58:], b[0x58+160:]
	binary.LittleEndian.PutUint16(coff, 0x8664)
	binary.LittleEndian.PutUint16(coff[2:], 1)
	binary.LittleEndian.PutUint16(coff[16:], 160)
	binary.LittleEndian.PutUint16(opt, 0x20b)
	binary.LittleEndian.PutUint32(opt[32:], 4096)
	binary.LittleEndian.PutUint32(opt[36:], 512)
	binary.LittleEndian.PutUint32(opt[60:], 1024)
	binary.LittleEndian.PutUint32(opt[108:], 6)
	copy(section, ".text")
	binary.LittleEndian.PutUint32(section[12:], 4096)
	return b
}

// machine is a machine in a directory that runs USR-A and has another version in
// USR-B, on trial.
type machine struct {
	*nextkernel.Env
	t      *testing.T
	out    *bytes.Buffer
	layout partitions.Layout
	image  signer // vouches for slots
	uki    []byte

	usr     *tree.Tree
	foot    footer.Footer
	refuse  error
	loaded  *kexec.Kernel // closed
	initrd  string
	unloads int
}

const (
	ukiPath  = "lib/slipway/boot.efi"
	slotSize = 2097152 * 512
)

func newMachine(t *testing.T) *machine {
	m := &machine{
		t: t, out: new(bytes.Buffer), image: newSigner(1), usr: tree.New(),
		layout: partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NameSpaceURL)),
	}
	m.Env = &nextkernel.Env{
		Name: "slipway-host kexec", Stdout: m.out, Stderr: m.out,
		Machine: slots.Machine{Root: t.TempDir(), Mounted: func(string) (string, error) { return "/dev/vda3", nil }},
		Load:    m.load, Unload: func() error { m.unloads++; return nil },
	}
	disk := m.sparse("dev/vda", m.layout.DiskSize())
	require.NoError(t, partitions.Create(disk, m.layout.DiskSize(), m.layout))
	m.set(4, partitions.Slot(2, 1, false))
	m.file("run/slipway/boot.json", m.json(map[string]any{
		"disk": "/dev/vda", "slot": "USR-A", "partition": 3, "version": "1.0.0",
	}))
	m.file("usr/lib/os-release", "")
	m.trust(m.image.key())
	require.NoError(t, os.MkdirAll(filepath.Join(m.Machine.Root, "sys/block"), 0o755))
	require.NoError(t, os.Symlink("../devices/pci0000:00/0000:00:04.0/virtio1/block/vda",
		filepath.Join(m.Machine.Root, "sys/block/vda")))

	part := func(text string) *io.SectionReader {
		return io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))
	}
	var b bytes.Buffer
	require.NoError(t, uki.Write(&b, &uki.Options{
		Stub: stub(), OSRelease: "ID=x\n", CommandLine: "console=ttyS0 panic=5", Uname: "6.12",
		Linux: part("the kernel"), Initrd: part("the initramfs"),
	}))
	m.uki = b.Bytes()
	m.foot = footer.Footer{
		Format: footer.Format, Name: "slipway", Version: "1.0.1", Architecture: "amd64",
		FSType: "erofs", BlockSize: 4096, RootHash: strings.Repeat("ab", 32), BootID: strings.Repeat("cd", 32),
	}
	sum := sha256.Sum256(m.uki)
	m.foot.UKI = footer.UKI{Path: ukiPath, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(m.uki))}
	return m
}

func (m *machine) json(v any) string {
	text, err := json.Marshal(v)
	require.NoError(m.t, err)
	return string(text)
}

func (m *machine) file(name, text string) {
	path := filepath.Join(m.Machine.Root, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(text), 0o644))
}

func (m *machine) sparse(name string, size int64) *os.File {
	m.file(name, "")
	f, err := os.OpenFile(filepath.Join(m.Machine.Root, name), os.O_RDWR, 0)
	require.NoError(m.t, err)
	m.t.Cleanup(func() { f.Close() })
	require.NoError(m.t, f.Truncate(size))
	return f
}

// trust has the running version trust these keys with slots.
func (m *machine) trust(keys ...key.Key) {
	set := keyset.New()
	for _, k := range keys {
		set.Keys = append(set.Keys, keyset.NewEntry(k, keyset.Image))
	}
	file, err := keyset.NewFile(set)
	require.NoError(m.t, err)
	text, err := file.Encode()
	require.NoError(m.t, err)
	m.file("usr/"+keyset.Path, string(text))
}

func (m *machine) set(number int, a partitions.Attributes) {
	f, err := os.OpenFile(filepath.Join(m.Machine.Root, "dev/vda"), os.O_RDWR, 0)
	require.NoError(m.t, err)
	defer f.Close()
	t, err := partitions.Read(f, m.layout.DiskSize(), 512)
	require.NoError(m.t, err)
	require.NoError(m.t, partitions.Update(f, t, partitions.Change{
		Attributes: map[int]partitions.Attributes{number: a}, Force: true,
	}))
}

// install writes USR-B with a kernel image at a path.
func (m *machine) install(path string, image []byte) {
	require.NoError(m.t, m.usr.Set(path, &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes(image)}))
	f := m.sparse("dev/vda4", slotSize)
	size, err := erofs.Write(m.t.Context(), f, m.usr, &erofs.Options{Label: "USR"})
	require.NoError(m.t, err)
	require.NoError(m.t, f.Truncate(slotSize))
	hashes, err := verity.Format(m.t.Context(), f, size, f, size, &verity.Options{})
	require.NoError(m.t, err)
	m.foot.FSSize, m.foot.HashOffset, m.foot.HashSize = size, size, hashes.HashSize
	m.foot.RootHash = hex.EncodeToString(hashes.RootHash[:])
	require.NoError(m.t, footer.Write(m.t.Context(), f, slotSize, &m.foot, m.image))
}

func (m *machine) load(k *kexec.Kernel) error {
	text := make([]byte, 100)
	n, _ := k.Initrd.ReadAt(text, 0)
	m.initrd, m.loaded = string(text[:n]), k
	return m.refuse
}

func (m *machine) table() string {
	f, err := os.Open(filepath.Join(m.Machine.Root, "dev/vda"))
	require.NoError(m.t, err)
	defer f.Close()
	text := make([]byte, 34*512)
	_, err = io.ReadFull(f, text)
	require.NoError(m.t, err)
	return string(text)
}

func TestLoads(t *testing.T) {
	m := newMachine(t)
	m.install(ukiPath, m.uki)
	before := m.table()
	require.Zero(t, nextkernel.Main(t.Context(), nil, m.Env))
	assert.Equal(t, "USR-B: the kernel of version 1.0.1 is loaded: the restart goes past the firmware\n", m.out.String())
	require.NotNil(t, m.loaded)
	assert.Equal(t, "the initramfs", m.initrd)
	assert.Equal(t, "console=ttyS0 panic=5 slipway.verify=lazy slipway.esp="+m.layout.Partitions[0].UUID.String()+" slipway.disk=04.0",
		m.loaded.CommandLine)
	assert.Equal(t, before, m.table(), "the try is the boot engine's to take")
	assert.Zero(t, m.unloads)
}

// Who has proven itself is not read through: the boot engine does not, either.
func TestProvenSlot(t *testing.T) {
	m := newMachine(t)
	m.install(ukiPath, m.uki)
	m.damage()
	m.set(4, partitions.Slot(2, 0, true))
	require.Zero(t, nextkernel.Main(t.Context(), nil, m.Env))
	require.NotNil(t, m.loaded, m.out)
	assert.NotContains(t, m.loaded.CommandLine, "slipway.verify")
}

// damage changes a block that no file is in.
func (m *machine) damage() {
	f, err := os.OpenFile(filepath.Join(m.Machine.Root, "dev/vda4"), os.O_RDWR, 0)
	require.NoError(m.t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{1}, 0)
	require.NoError(m.t, err)
}

// Whatever is in the way: one line, nothing loaded, and exit code 0, for the
// restart goes on.
func TestByTheFirmware(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(m *machine)
		want   string
		loaded bool // was tried
	}{
		{name: "no other slot", spoil: func(m *machine) { m.set(4, partitions.Slot(0, 0, false)) },
			want: "no other slot is to be started than the running USR-A"},
		{name: "tries are spent", spoil: func(m *machine) { m.set(4, partitions.Slot(2, 0, false)) },
			want: "no other slot is to be started than the running USR-A"},
		{name: "no slot", spoil: func(m *machine) {
			m.set(4, partitions.Slot(0, 0, false))
			m.set(3, partitions.Slot(1, 0, false))
		}, want: "there is no slot to start"},
		{name: "no boot report", spoil: func(m *machine) {
			require.NoError(m.t, os.Remove(filepath.Join(m.Machine.Root, "run/slipway/boot.json")))
		}, want: "this machine was not started from a slot"},
		{name: "another disk", spoil: func(m *machine) {
			m.Machine.Mounted = func(string) (string, error) { return "/dev/vdb3", nil }
		}, want: "/usr is on /dev/vdb3, the boot engine started USR-A from /dev/vda3"},
		{name: "strange key", spoil: func(m *machine) { m.trust(newSigner(2).key()) },
			want: fmt.Sprintf("USR-B: slot footer: not signed by a known key: signed by %s; accepted: %s",
				newSigner(1).KeyID(), newSigner(2).KeyID())},
		{name: "no keys", spoil: func(m *machine) { m.file("usr/"+keyset.Path, "{}") },
			want: "/usr/share/slipway/keys.json: key set: malformed"},
		{name: "empty slot", spoil: func(m *machine) { m.sparse("dev/vda4", slotSize) },
			want: "USR-B: slot of 1073741824 bytes: no slot footer"},
		{name: "another kernel", spoil: func(m *machine) {
			image := bytes.Clone(m.uki)
			image[len(image)-1] ^= 1
			m.install(ukiPath, image)
		}, want: "USR-B: its kernel: SHA-256 "},
		{name: "another size", spoil: func(m *machine) { m.install(ukiPath, m.uki[1:]) },
			want: "USR-B: /usr/lib/slipway/boot.efi: no file of "},
		{name: "no kernel", spoil: func(m *machine) {
			m.usr = tree.New()
			m.install("lib/x", m.uki)
		}, want: "USR-B: /usr/lib/slipway/boot.efi: no file of "},
		{name: "no UKI", spoil: func(m *machine) {
			image := bytes.Repeat([]byte{'x'}, 8192)
			sum := sha256.Sum256(image)
			m.foot.UKI = footer.UKI{Path: ukiPath, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(image))}
			m.install(ukiPath, image)
		}, want: "USR-B: its kernel: UKI: not a PE file"},
		{name: "bad block", spoil: (*machine).damage, want: "USR-B: verity: data block 0 is corrupt"},
		{name: "no file system", spoil: func(m *machine) {
			f, err := os.OpenFile(filepath.Join(m.Machine.Root, "dev/vda4"), os.O_RDWR, 0)
			require.NoError(m.t, err)
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 4096), 0)
			require.NoError(m.t, err)
		}, want: "USR-B: erofs superblock: "},
		{name: "refused", spoil: func(m *machine) { m.refuse = errors.New("load its kernel: locked down") },
			want: "USR-B: load its kernel: locked down\n", loaded: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.install(ukiPath, m.uki)
			c.spoil(m)
			require.Zero(t, nextkernel.Main(t.Context(), nil, m.Env))
			assert.True(t, strings.HasPrefix(m.out.String(), "restarting by way of the firmware: "+c.want), m.out.String())
			assert.Equal(t, 1, strings.Count(m.out.String(), "\n"))
			assert.Equal(t, c.loaded, m.loaded != nil)
			assert.Equal(t, 1, m.unloads, "what another restart loaded")
		})
	}
}

func TestUsage(t *testing.T) {
	m := newMachine(t)
	assert.Equal(t, 2, nextkernel.Main(t.Context(), []string{"-x"}, m.Env))
	assert.Contains(t, m.out.String(), "usage: slipway-host kexec\n")
}
