package finish_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/finish"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
)

// OpenSSL hashes each subject as we do.
func TestJudgeSubjectHash(t *testing.T) {
	for _, s := range subjects(t) {
		der := certificate(t, s.raw)
		cmd := toolstest.Command(t, "openssl", "x509", "-hash", "-noout")
		cmd.Stdin = strings.NewReader(string(pem.EncodeToMemory(
			&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		out, err := cmd.Output()
		require.NoError(t, err, s.name)
		hash, err := finish.SubjectHash(der)
		require.NoError(t, err, s.name)
		assert.Equal(t, strings.TrimSpace(string(out)), fmt.Sprintf("%08x", hash), s.name)
	}
}

// realFiles is a small system for the real tools to work on.
func realFiles(t *testing.T) *tree.Tree {
	t.Helper()
	in := files(t,
		"usr/lib/systemd/system/a.service: [Service]\nExecStart=/bin/true\n[Install]\n"+
			"WantedBy=multi-user.target\nAlias=b.service\nAlso=a.socket\n",
		"usr/lib/systemd/system/a.socket: [Socket]\nListenStream=1\n[Install]\nWantedBy=sockets.target\n",
		"usr/lib/systemd/system/off.service: [Service]\nExecStart=/bin/true\n"+
			"[Install]\nWantedBy=x.target\n",
		"usr/lib/systemd/system/t@.service: [Service]\nExecStart=/bin/true\n[Install]\n"+
			"WantedBy=multi-user.target\nDefaultInstance=tty1\n",
		"usr/lib/systemd/system-preset/90-all.preset: enable *\n",
		"usr/lib/udev/hwdb.d/20-x.hwdb: evdev:atkbd:*\n KEYBOARD_KEY_01=esc\n",
		"usr/lib/systemd/catalog/x.catalog: -- 0123456789abcdef0123456789abcdef\nSubject: x\n\nbody\n",
		"etc/ld.so.conf: /usr/lib/x86_64-linux-gnu\n",
		"usr/lib/x86_64-linux-gnu/", "usr/lib64/",
	)
	libc, err := os.ReadFile(toolstest.Path(t, "build", "usr/lib/x86_64-linux-gnu/libc.so.6"))
	require.NoError(t, err)
	require.NoError(t, in.Set("usr/lib/x86_64-linux-gnu/libc.so.6", &tree.Node{
		Type: tree.File, Mode: 0o755, Blob: tree.Bytes(libc)}))
	return in
}

// The real tools give the same bytes twice, also to a user with a strict
// umask.
func TestJudgeTools(t *testing.T) {
	once := func(umask int) *tree.Tree {
		old := syscall.Umask(umask)
		defer syscall.Umask(old)
		o := options(t, realFiles(t), config(t, "units: {enable: [a.service, t@.service]}"))
		o.Runner = toolstest.Tree(t, "build")
		o.Workers = 2
		result, err := finish.Run(context.Background(), o)
		require.NoError(t, err)
		return result.Usr
	}
	toolstest.Tree(t, "build") // made with the usual umask
	u := once(0o022)
	var links []string
	for p, n := range u.Sub("share/slipway/etc/systemd/system").All() {
		if n.Type == tree.Symlink {
			links = append(links, p+" -> "+n.Target)
		}
	}
	assert.Equal(t, []string{
		"b.service -> /usr/lib/systemd/system/a.service",
		"multi-user.target.wants/a.service -> /usr/lib/systemd/system/a.service",
		"multi-user.target.wants/t@tty1.service -> /usr/lib/systemd/system/t@.service",
		"sockets.target.wants/a.socket -> /usr/lib/systemd/system/a.socket",
	}, links)
	for _, p := range []string{
		"lib/udev/hwdb.bin", "share/slipway/catalog/database", "share/slipway/etc/ld.so.cache",
	} {
		require.NotNil(t, u.Lookup(p), p)
		assert.NotZero(t, u.Lookup(p).Size(), p)
	}
	assert.Contains(t, content(t, u, "share/slipway/etc/ld.so.cache"),
		"/lib/x86_64-linux-gnu/libc.so.6")

	strict := once(0o077)
	assert.Equal(t, u.Paths(), strict.Paths())
	for p, n := range u.All() {
		other := strict.Lookup(p)
		require.NotNil(t, other, p)
		assert.Equal(t, n.Mode, other.Mode, p)
		if n.Type == tree.File {
			assert.Equal(t, n.Blob.SHA256(), other.Blob.SHA256(), p)
		}
	}
}

// systemd's own reader finds in the image what it needs: accounts are as
// systemd-sysusers would make them, and tmpfiles.d lines are understood.
func TestJudgeAccountsAndTmpfiles(t *testing.T) {
	u := run(t, files(t,
		"usr/lib/sysusers.d/basic.conf: u root 0 - /root /bin/bash\nu daemon 1 \"A daemon\" /usr/sbin\n"+
			"g tty 5\nm daemon tty\nu! nobody 65534:65534 - -\ng nogroup 65534\n",
		"var/lib/a/", "var/lib/b c: text", "var/x -> lib/a",
	), config(t, "{}"))
	root := t.TempDir()
	write := func(p, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, p), []byte(text), 0o644))
	}
	write("usr/lib/sysusers.d/basic.conf", content(t, u, "lib/sysusers.d/basic.conf"))
	sysusers := func() string {
		out, err := toolstest.Command(t, "systemd-sysusers", "--root="+root, "--dry-run").CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	write("usr/lib/sysusers.d/00-slipway.conf", content(t, u, "lib/sysusers.d/00-slipway.conf"))
	assert.Contains(t, sysusers(), "Creating user 'daemon' (A daemon) with UID 1 and GID 1.")
	for _, name := range []string{"passwd", "group"} {
		write("etc/"+name, content(t, u, "share/slipway/etc/"+name))
	}
	assert.NotContains(t, sysusers(), "Creating", "nothing is left to make")

	lines := content(t, u, "lib/tmpfiles.d/slipway.conf")
	// Owners are the tester's: only root may give files away.
	lines = strings.ReplaceAll(lines, " 0 0 ", " - - ")
	write("usr/lib/tmpfiles.d/slipway.conf", lines)
	write("usr/share/factory/var/lib/b c", content(t, u, "share/factory/var/lib/b c"))
	out, err := toolstest.Command(t, "systemd-tmpfiles", "--root="+root, "--create").CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(filepath.Join(root, "var/lib/b c"))
	require.NoError(t, err)
	assert.Equal(t, "text", string(text))
	target, err := os.Readlink(filepath.Join(root, "var/x"))
	require.NoError(t, err)
	assert.Equal(t, "lib/a", target)
}
