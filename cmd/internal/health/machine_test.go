package health_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tree"
	"slipway/cmd/internal/health"
	"slipway/partitions"
	"slipway/signing/footer"
)

// machine is a machine in a directory: a disk with two slots and an ESP, what
// the boot engine leaves, and a systemd that does as it is told.
type machine struct {
	*health.Env
	t      testing.TB
	out    *bytes.Buffer
	layout partitions.Layout
	report map[string]any // boot.json

	clock time.Duration
	units func(now time.Duration) []health.Unit
	// stopAt is when somebody restarts the machine, 0 for never.
	stopAt  time.Duration
	cancel  context.CancelFunc
	started []string
	reboots []int
	boots   int
}

const (
	partUSRA, partUSRB = 3, 4
	oldVersion         = "4888.0.0"
	newVersion         = "4889.0.0"
)

func hash(version string) string { return strings.Repeat(version[3:4]+"a", 32) }

// newMachine makes a machine that runs USR-A, proven, with a newer version in
// USR-B.
func newMachine(t testing.TB) *machine {
	m := &machine{
		t: t, out: new(bytes.Buffer),
		layout: partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NameSpaceURL)),
		units:  func(time.Duration) []health.Unit { return up() },
	}
	m.Env = &health.Env{
		Name: "slipway-host status", Stdout: m.out, Stderr: m.out, Root: t.TempDir(), Systemd: m,
		Now:     func() time.Time { return time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC).Add(m.clock) },
		Uptime:  func() time.Duration { return m.clock },
		Mounted: func(string) (string, error) { return fmt.Sprintf("/dev/vda%d", m.report["partition"]), nil },
	}
	m.Sleep = func(_ context.Context, d time.Duration) {
		m.clock += d
		if m.stopAt > 0 && m.clock >= m.stopAt || m.clock > time.Hour {
			m.cancel()
		}
	}
	m.sparse("dev/vda", m.layout.DiskSize(), func(f *os.File) {
		require.NoError(t, partitions.Create(f, m.layout.DiskSize(), m.layout))
	})
	m.sparse("dev/console", 0, nil)
	m.file("usr/lib/slipway/boot.efi", "stage 1 of "+oldVersion)
	m.sparse("dev/vda1", 128<<20, func(f *os.File) {
		esp := tree.New()
		require.NoError(t, esp.Set("EFI/BOOT/BOOTX64.EFI", &tree.Node{
			Type: tree.File, Mode: 0o644, Blob: tree.Bytes([]byte("stage 1 of " + oldVersion)),
		}))
		require.NoError(t, fat.Write(f, 128<<20, esp, &fat.Options{Time: 1_700_000_000}))
	})
	m.install(partUSRA, oldVersion)
	m.install(partUSRB, newVersion)
	m.boot(partUSRA, nil)
	return m
}

// path is a file of the machine.
func (m *machine) path(name string) string { return filepath.Join(m.Root, name) }

func (m *machine) file(name, content string) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	require.NoError(m.t, os.WriteFile(m.path(name), []byte(content), 0o644))
}

func (m *machine) read(name string) string {
	text, err := os.ReadFile(m.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(m.t, err)
	return string(text)
}

func (m *machine) sparse(name string, size int64, fill func(*os.File)) {
	m.t.Helper()
	m.file(name, "")
	f, err := os.OpenFile(m.path(name), os.O_RDWR, 0)
	require.NoError(m.t, err)
	require.NoError(m.t, f.Truncate(size))
	if fill != nil {
		fill(f)
	}
	require.NoError(m.t, f.Close())
}

type nobody struct{}

func (nobody) KeyID() string                                        { return "0123456789abcdef" }
func (nobody) Algorithm() string                                    { return "ed25519" }
func (nobody) SignDigest(context.Context, [32]byte) ([]byte, error) { return make([]byte, 64), nil }

// install writes a footer into a slot.
func (m *machine) install(number int, version string) {
	size := int64(2097152 * 512)
	m.sparse(fmt.Sprintf("dev/vda%d", number), size, func(f *os.File) {
		require.NoError(m.t, footer.Write(context.Background(), f, size, &footer.Footer{
			Format: footer.Format, Name: "slipway", Version: version, Architecture: "amd64",
			FSType: "erofs", FSSize: 4096, HashOffset: 4096, HashSize: 4096, BlockSize: 4096,
			RootHash: hash(version), BootID: hash(version),
			UKI: footer.UKI{Path: "lib/slipway/boot.efi", Size: 4096, SHA256: hash(version)},
		}, nobody{}))
	})
}

// boot is a start from a slot: what the boot engine leaves behind.
func (m *machine) boot(number int, failures map[string]string) {
	version := map[int]string{partUSRA: oldVersion, partUSRB: newVersion}[number]
	label := map[int]string{partUSRA: "USR-A", partUSRB: "USR-B"}[number]
	m.report = map[string]any{
		"disk": "/dev/vda", "slot": label, "partition": number, "device": fmt.Sprintf("/dev/vda%d", number),
		"version": version, "root_hash": hash(version), "failures": failures,
		"versions": map[string]string{"USR-A": oldVersion, "USR-B": newVersion},
	}
	m.boots++
	m.clock = 10 * time.Second
	m.file("proc/sys/kernel/random/boot_id", fmt.Sprintf("boot-%d\n", m.boots))
	m.writeReport()
	require.NoError(m.t, os.RemoveAll(m.path("run/slipway/health.json")))
	m.out.Reset()
	m.sparse("dev/console", 0, nil)
	m.reboots, m.started = nil, nil
}

func (m *machine) writeReport() {
	text, err := json.Marshal(m.report)
	require.NoError(m.t, err)
	m.file("run/slipway/boot.json", string(text))
}

// table reads the partition table.
func (m *machine) table() *partitions.Table {
	f, err := os.Open(m.path("dev/vda"))
	require.NoError(m.t, err)
	defer f.Close()
	t, err := partitions.Read(f, m.layout.DiskSize(), 512)
	require.NoError(m.t, err)
	return t
}

// set changes the attributes of a slot.
func (m *machine) set(number, priority, tries int, successful bool) {
	f, err := os.OpenFile(m.path("dev/vda"), os.O_RDWR, 0)
	require.NoError(m.t, err)
	defer f.Close()
	t, err := partitions.Read(f, m.layout.DiskSize(), 512)
	require.NoError(m.t, err)
	require.NoError(m.t, partitions.Update(f, t, partitions.Change{
		Attributes: map[int]partitions.Attributes{number: partitions.Slot(priority, tries, successful)}, Force: true,
	}))
}

// slots is the state of both slots.
func (m *machine) slots() string {
	var lines []string
	for _, p := range m.table().Slots() {
		lines = append(lines, p.Label+" "+p.Attributes.String())
	}
	return strings.Join(lines, "\n")
}

// stage1 is what the firmware starts.
func (m *machine) stage1() string {
	f, err := os.Open(m.path("dev/vda1"))
	require.NoError(m.t, err)
	defer f.Close()
	esp, err := fat.Open(f, 128<<20)
	require.NoError(m.t, err)
	r, err := esp.Lookup("EFI/BOOT/BOOTX64.EFI").Blob.Open()
	require.NoError(m.t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	require.NoError(m.t, err)
	return string(text)
}

// judge runs the health program to its end.
func (m *machine) judge() (code int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m.cancel = cancel
	return health.Main(ctx, nil, m.Env)
}

func (m *machine) Units(_ context.Context, names ...string) ([]health.Unit, error) {
	all := map[string]health.Unit{}
	for _, u := range m.units(m.clock) {
		all[u.ID] = u
	}
	var list []health.Unit
	for _, name := range names {
		u, ok := all[name]
		if !ok {
			u = health.Unit{ID: name, LoadState: "not-found", ActiveState: "inactive"}
		}
		list = append(list, u)
	}
	return list, nil
}

func (m *machine) Start(_ context.Context, names ...string) error {
	m.started = append(m.started, names...)
	return nil
}

func (m *machine) Reboot(_ context.Context, force int) error {
	m.reboots = append(m.reboots, force)
	m.cancel() // systemd stops the service, too
	return nil
}

// unit is an active one.
func unit(name string, at time.Duration) health.Unit {
	return health.Unit{
		ID: name, LoadState: "loaded", ActiveState: "active", SubState: "running",
		Result: "success", Entered: at, Condition: true, Checked: 1,
	}
}

// up is a boot that was complete after eight seconds.
func up(requires ...health.Unit) []health.Unit {
	goal := unit("boot-complete.target", 8*time.Second)
	idle := health.Unit{ID: "emergency.target", LoadState: "loaded", ActiveState: "inactive"}
	all := append([]health.Unit{unit("ssh.service", 5*time.Second), unit("docker.service", 7*time.Second)}, requires...)
	for _, u := range all {
		goal.Requires = append(goal.Requires, u.ID)
	}
	return append(all, goal, idle)
}
