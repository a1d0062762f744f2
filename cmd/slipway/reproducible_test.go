package main_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
)

// site is one place where the same release is built.
type site struct {
	dir   string // holds checkout, cache, home and out
	umask string
	uid   uint32 // 0: the user who runs the test
	jobs  string
	env   []string

	compiled string // the Go tool's cache
}

// TestReproducible builds one lock twice, as differently as one machine can:
// other paths, user, umask, locale, time zone, number of workers and empty
// caches but for the downloads. Every file has to be the same. The first site
// may use what the Go tool has compiled before, the second one compiles all.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two images")
	}
	base, err := os.MkdirTemp("", "slipway-repro-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	require.NoError(t, os.Chmod(base, 0o755))
	// The checkout of this moment: somebody may go on editing it.
	root := filepath.Join(base, "checkout")
	require.NoError(t, copyCheckout("../..", root))
	program := filepath.Join(base, "slipway")
	command(t, root, nil, "go", "build", "-o", program, "./cmd/slipway")

	// One lock and one key for both; the packages are downloaded once.
	lock := filepath.Join(base, "packages.lock")
	command(t, root, nil, program, "lock", "--file", lock)
	cache := os.Getenv("SLIPWAY_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		require.NoError(t, err)
		cache = filepath.Join(dir, "slipway")
	}
	key := filepath.Join(base, "test.key")
	writeKey(t, key)
	require.NoError(t, os.Chmod(lock, 0o644))

	sites := []*site{
		{dir: filepath.Join(base, "a"), umask: "022", jobs: "2", env: []string{"TZ=UTC", "LANG=C"}},
		{
			dir: filepath.Join(base, "another", "much", "longer", "path"), umask: "077", jobs: "1",
			env: []string{"TZ=Pacific/Auckland", "LANG=de_DE.UTF-8", "LC_ALL=tr_TR.UTF-8"},
		},
	}
	if os.Getuid() == 0 {
		sites[1].uid = 65534
	}
	compiled, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	sites[0].compiled = strings.TrimSpace(string(compiled))
	sites[1].compiled = filepath.Join(sites[1].dir, "home", "go-build")
	var dirs []string
	for _, s := range sites {
		s.prepare(t, root, filepath.Join(cache, "store"))
		out := s.run(t, program, "build", "--lock", lock, "--key", key, "--payload", "development", "--jobs", s.jobs, "--out", filepath.Join(s.dir, "out"))
		lines := strings.Fields(out)
		require.NotEmpty(t, lines)
		dirs = append(dirs, lines[len(lines)-1])
	}
	for _, name := range []string{
		release.Disk, release.Slot, release.UKI, release.Payload, release.Lock, release.Log,
		release.Manifest, release.Signatures, release.Sums,
	} {
		assert.Equal(t, digest(t, filepath.Join(dirs[0], name)), digest(t, filepath.Join(dirs[1], name)), name)
	}
}

// prepare copies the checkout and gives the site directories of its own.
func (s *site) prepare(t *testing.T, root, store string) {
	t.Helper()
	for _, dir := range []string{"cache", "home", "out"} {
		require.NoError(t, os.MkdirAll(filepath.Join(s.dir, dir), 0o755))
	}
	require.NoError(t, copyCheckout(root, filepath.Join(s.dir, "checkout")))
	command(t, s.dir, nil, "cp", "-a", store, filepath.Join(s.dir, "cache", "store"))
	if s.uid != 0 {
		command(t, s.dir, nil, "chown", "-R", fmt.Sprint(s.uid), s.dir)
	}
}

func (s *site) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", "umask " + s.umask + "; exec \"$@\"", "sh"}, args...)...)
	cmd.Dir = filepath.Join(s.dir, "checkout")
	home := filepath.Join(s.dir, "home")
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home,
		"GOCACHE="+s.compiled, "TMPDIR="+home, "SLIPWAY_CACHE="+filepath.Join(s.dir, "cache"))
	if s.uid != 0 {
		cmd.Env = append(cmd.Env, "GOPATH="+filepath.Join(home, "go"), "GOMODCACHE="+filepath.Join(home, "go", "mod"),
			"GOFLAGS=-modcacherw")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
	cmd.Env = append(cmd.Env, s.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return string(out)
}

// copyCheckout copies what a build is compiled from and reads.
func copyCheckout(root, to string) error {
	for _, name := range []string{"go.mod", "go.sum", "build", "cmd", "overlays", "partitions", "qemu-tests", "signing"} {
		from := filepath.Join(root, name)
		st, err := os.Stat(from)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if st.IsDir() {
			err = os.CopyFS(target, os.DirFS(from))
		} else {
			err = copyFile(from, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// writeKey makes a key that both sites sign with.
func writeKey(t *testing.T, name string) { writeSeededKey(t, name, 0) }

// writeSeededKey makes a key of a number.
func writeSeededKey(t *testing.T, name string, n byte) {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed))
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	require.NoError(t, os.WriteFile(name, text, 0o644))
}

func command(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s: %s", strings.Join(args, " "), out)
}

func digest(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}
