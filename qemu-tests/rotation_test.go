package qemutests_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/powercut"
	"slipway/qemu-tests/vm"
)

// keySet is a directory of keys that images of this test are signed with.
type keySet struct {
	dir string
	lab *lab
}

// slipway runs a command of the tool and returns what it printed.
func (k *keySet) slipway(t testing.TB, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "./cmd/slipway"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err, "slipway %v: %s", args, out)
	return out
}

// image is the id of the key that signs slots and is not to be replaced.
func (k *keySet) image(t testing.TB) string {
	t.Helper()
	var list struct {
		Keys []struct {
			ID         string
			Roles      []string
			ReplacedBy string `json:"replaced_by"`
			Retired    bool
		}
	}
	require.NoError(t, json.Unmarshal(k.slipway(t, "keys", "list", "--keys", k.dir, "--json"), &list))
	for _, key := range list.Keys {
		if key.Roles[0] == "image" && key.ReplacedBy == "" && !key.Retired {
			return key.ID
		}
	}
	t.Fatal("no key signs slots")
	return ""
}

// build builds a version signed by the set as it is now.
func (k *keySet) build(t testing.TB, patches int) *release {
	t.Helper()
	r, err := readRelease(k.lab.build(t, k.lab.Channel, "--lock", k.lab.path("packages.lock"),
		"--version", k.lab.later(t, patches), "--keys", k.dir, "--out", filepath.Join(k.dir, "out")))
	require.NoError(t, err)
	return r
}

// TestKeyRotation takes a machine from an image signed by one key to an image
// signed by another, over one signed by both that brings the new key along.
// Without the one in between, the machine refuses the new key's image and stays
// what it was.
func TestKeyRotation(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		k := &keySet{dir: filepath.Join(t.TempDir(), "set"), lab: l}
		k.slipway(t, "keys", "new", "--keys", k.dir, "--development")
		old := k.image(t)
		first := k.build(t, 1)
		k.slipway(t, "keys", "rotate", "--keys", k.dir, "--role", "image")
		both := k.build(t, 2)
		k.slipway(t, "keys", "rotate", "--keys", k.dir, "--retire", old)
		last := k.build(t, 3)

		file, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
		require.NoError(t, err)
		defer file.Close()
		size := writeDisk(t, file, first, both)
		disk := func() *testDisk {
			return &testDisk{
				Disk: powercut.Over(file, size), lab: l, base: file.Name(), layout: layoutOf(t, file, size),
			}
		}
		t.Run("refused", func(t *testing.T) {
			d := disk()
			d.install(t, "USR-B", last)
			d.onTrial(t)
			m := d.boot(t, bare(&vm.Config{}))
			m.expect(t, `slipway: USR-B.*: slot footer: not signed by a known key: signed by `+k.image(t)+
				`; accepted: `+old)
			m.up(t)
			m.runs(t, "USR-A", first)
		})
		t.Run("over both", func(t *testing.T) {
			d := disk()
			d.onTrial(t)
			m := d.boot(t, offline(&vm.Config{Memory: 2048, Credentials: healthSoon()}))
			m.booted(t)
			m.runs(t, "USR-B", both)
			m.healthy(t) // and its kernel, which knows both keys, is what the firmware starts
			m.run(t, "cgpt add -i 3 -P 3 -T 1 -S 0 /dev/vda")
			m.shutdown(t)

			newest := disk()
			newest.install(t, "USR-A", last)
			require.NoError(t, m.Write(t.Context(), newest.changes(t)))
			m.start(t)
			m.booted(t)
			m.runs(t, "USR-A", last)
			m.healthy(t)
			assert.Equal(t, "priority=3 tries=0 successful=1", m.attributes(t, 3))

			// The version in between is signed by the new key too.
			m.run(t, "cgpt prioritize -i 4 /dev/vda")
			m.reboot(t)
			m.runs(t, "USR-B", both)
		})
	})
}
