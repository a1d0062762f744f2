package qemutests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// lab is what the tests of one channel share.
type lab struct {
	*bench
	*release

	variants [len(variantNames)]once[*release]
	payloads [len(variantNames)]once[string]
	disk     once[*usedDisk]
	journeys once[*journey]
	failures once[*failed]
	machines []*vm.VM // to be closed at the end
}

// once is a value that the first test to need it makes, in the name of all.
type once[T any] struct {
	mu    sync.Mutex
	begun bool
	done  bool
	value T
}

// get returns the value. A test that needs it after another one failed to make
// it fails too, with less noise.
func (o *once[T]) get(t testing.TB, make func() T) T {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun && !o.done {
		t.Fatal("what this test starts from could not be made: see the test that failed first")
	}
	if !o.done {
		o.begun = true
		o.value = make()
		o.done = true
	}
	return o.value
}

// variant is a version newer than the channel's, to be its update. Each has
// the same packages and another overlay from testdata.
type variant int

const (
	next   variant = iota // good
	panics                // its kernel panics
	hangs                 // its kernel never gets to the initramfs
	later                 // good, and newer than all others
)

var variantNames = [...]string{next: "next", panics: "panics", hangs: "hangs", later: "later"}

// variant builds a newer version, once.
func (l *lab) variant(t testing.TB, v variant) *release {
	return l.variants[v].get(t, func() *release {
		l.mu.Lock() // one build at a time
		defer l.mu.Unlock()
		r, err := readRelease(l.build(t, l.Channel, "--lock", l.path("packages.lock"),
			"--version", l.later(t, int(v)+1), "--overlay", "qemu-tests/testdata/"+variantNames[v]))
		require.NoError(t, err)
		return r
	})
}

// later is a version after the release's, MAJOR.MINOR.PATCH.
func (r *release) later(t testing.TB, patches int) string {
	var major, minor, patch int
	_, err := fmt.Sscanf(r.Version, "%d.%d.%d", &major, &minor, &patch)
	require.NoError(t, err)
	return fmt.Sprintf("%d.%d.%d", major, minor, patch+patches)
}

// usedDisk is a disk that a machine has run from: the release is in USR-A,
// proven; the next version is in USR-B, which is not to be started; and ROOT
// has something to lose.
type usedDisk struct {
	*os.File
	size int64
	kept string // what look says of ROOT
}

// look is a command whose output must stay the same over every update.
const look = "cat /etc/slipway-test /var/lib/slipway-test /etc/machine-id; hostname"

// usedDisk makes the disk by using a machine. It is never changed afterwards.
func (l *lab) usedDisk(t testing.TB) *usedDisk {
	newer := l.variant(t, next)
	return l.disk.get(t, func() *usedDisk {
		file, err := os.Create(filepath.Join(l.scratch, l.Channel+".img"))
		require.NoError(t, err)
		size := writeDisk(t, file, l.release, newer)
		m := newMachine(t, l, offline(&vm.Config{Disk: file.Name()}))
		m.up(t)
		kept := m.keep(t)
		m.shutdown(t)
		require.NoError(t, m.Commit(t.Context()))
		return &usedDisk{file, size, kept}
	})
}

// keep writes to ROOT and returns what look says of it from now on.
func (m *machine) keep(t testing.TB) string {
	t.Helper()
	m.run(t, "systemctl start sysinit.target && "+ // which makes what is in /var
		"echo kept in etc >/etc/slipway-test; echo kept in var >/var/lib/slipway-test")
	return m.run(t, look)
}
