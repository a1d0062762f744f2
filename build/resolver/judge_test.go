package resolver_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/resolver"
	"slipway/build/store"
	"slipway/build/tools/toolstest"
)

// systemPackages are those of a whole machine with a kernel, Docker and etcd.
var systemPackages = strings.Fields(`systemd systemd-sysv udev dbus kmod bash coreutils util-linux mount
	iproute2 libc-bin login passwd openssh-server ca-certificates systemd-resolved systemd-timesyncd
	nftables iputils-ping less procps e2fsprogs docker.io containerd runc iptables
	linux-image-cloud-amd64 etcd-server etcd-client`)

// debian opens main and security of Debian 13 on the real mirror.
func debian(t *testing.T) []*archive.Suite {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs a Debian mirror")
	}
	mirrors, err := archive.FindMirrors(&archive.MirrorOptions{Env: os.Getenv("SLIPWAY_MIRROR"), Host: os.DirFS("/")})
	require.NoError(t, err, "export SLIPWAY_MIRROR=URL")
	keys := &archive.Keys{}
	names, err := filepath.Glob("../../overlays/base/keys/*.asc")
	require.NoError(t, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, keys.Read(name, bytes.NewReader(data)))
	}
	cache := toolstest.CacheDir(t)
	st, err := store.Open(filepath.Join(cache, "store"))
	require.NoError(t, err)
	c := archive.New(&archive.Options{Mirrors: mirrors, Store: st, Dir: filepath.Join(cache, "index")})
	suites, err := c.Suites(t.Context(), []*archive.SuiteOptions{
		{Archive: archive.Debian, Suite: "trixie", Keys: keys, Now: time.Now()},
		{Archive: archive.Security, Suite: "trixie-security", Keys: keys, Now: time.Now()},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, s := range suites {
			s.Close()
		}
	})
	return suites
}

// apt is an apt-get with the suites' indexes and nothing installed.
type apt struct {
	t   *testing.T
	dir string
}

func newApt(t *testing.T, suites []*archive.Suite) *apt {
	t.Helper()
	a := &apt{t: t, dir: t.TempDir()}
	var sources strings.Builder
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"} {
		require.NoError(t, os.MkdirAll(filepath.Join(a.dir, d), 0o755))
	}
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644))
	}
	st, err := store.Open(filepath.Join(toolstest.CacheDir(t), "store"))
	require.NoError(t, err)
	for _, s := range suites {
		fmt.Fprintf(&sources, "deb [trusted=yes] http://mirror.invalid/%s %s main\n", s.Archive, s.Name)
		// apt finds a list by its address alone, so nothing has to be fetched.
		prefix := "lists/mirror.invalid_" + s.Archive + "_dists_" + s.Name + "_"
		write(prefix+"Release", fmt.Sprintf("Suite: %s\nCodename: %s\n", s.Release.Suite, s.Release.Codename))
		in, err := st.OpenFile(s.Indexes[0].SHA256)
		require.NoError(t, err)
		out, err := os.Create(filepath.Join(a.dir, prefix+"main_binary-amd64_Packages"))
		require.NoError(t, err)
		_, err = io.Copy(out, in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.NoError(t, out.Close())
	}
	write("status", "")
	write("etc/sources.list", sources.String())
	write("apt.conf", strings.ReplaceAll(`
Dir "DIR";
Dir::State "DIR";
Dir::State::lists "lists";
Dir::State::status "DIR/status";
Dir::Cache "DIR/cache";
Dir::Etc "DIR/etc";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
pkgCacheGen::ForceEssential "none";
Acquire::Languages "none";
`, "DIR", a.dir))
	return a
}

// install simulates an installation and returns "name version" lines.
func (a *apt) install(names ...string) []string {
	a.t.Helper()
	cmd := toolstest.Command(a.t, "apt-get", append([]string{"-s", "-q", "install"}, names...)...)
	cmd.Env = append(cmd.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(a.t, err, "%s", stderr.String())
	var all []string
	for line := range strings.Lines(string(out)) {
		// Inst bash (5.2.37-2+b10 Debian:13.7/stable [amd64])
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Inst" {
			all = append(all, f[1]+" "+strings.TrimPrefix(f[2], "("))
		}
	}
	slices.Sort(all)
	return all
}

func resolveDebian(t *testing.T, suites []*archive.Suite, names []string) []string {
	t.Helper()
	request := &resolver.Request{Packages: want(names...)}
	for _, s := range suites {
		request.Indexes = append(request.Indexes, s.Indexes[0])
	}
	result, err := resolver.Resolve(request)
	require.NoError(t, err, "%q", names)
	var all []string
	for _, p := range result.Packages {
		all = append(all, p.String())
	}
	return all
}

// apt takes alternatives as it comes to them, so its answer depends on the order
// of its arguments; ours does not, and knows first what is needed anyhow. So
// apt may take more, but what we leave out apt must be able to leave out, too:
// told our whole set it may add nothing and refuse nothing.
func TestAptJudges(t *testing.T) {
	suites := debian(t)
	a := newApt(t, suites)
	for _, c := range []struct {
		names []string
		extra []string // names that apt takes on top
	}{
		{names: systemPackages, extra: []string{"lsb-base"}},
		{names: []string{"systemd", "systemd-sysv", "udev", "dbus", "kmod", "bash", "coreutils", "util-linux", "iproute2"}},
		{names: []string{"qemu-system-x86", "ovmf"}},
		{names: []string{"grub-common", "grub-pc-bin", "systemd-boot-efi"}},
		{names: []string{"docker.io"}},
		{names: []string{"etcd-server", "etcd-client"}},
		{names: []string{"openssh-server"}},
		{names: []string{"linux-image-amd64"}},
		{names: []string{"postgresql", "nginx", "python3-requests"}},
	} {
		t.Run(c.names[0], func(t *testing.T) {
			ours := resolveDebian(t, suites, c.names)
			theirs := a.install(c.names...)
			var more, fewer []string
			for _, p := range theirs {
				if !slices.Contains(ours, p) {
					name, _, _ := strings.Cut(p, " ")
					more = append(more, name)
				}
			}
			for _, p := range ours {
				if !slices.Contains(theirs, p) {
					fewer = append(fewer, p)
				}
			}
			assert.Empty(t, fewer, "apt does without")
			assert.Subset(t, c.extra, more, "apt takes these, too")
			var exact []string
			for _, p := range ours {
				exact = append(exact, strings.Replace(p, " ", "=", 1))
			}
			assert.Equal(t, ours, a.install(exact...), "apt completes what we picked")
		})
	}
	t.Run("size", func(t *testing.T) {
		assert.InDelta(t, 139, len(resolveDebian(t, suites, systemPackages)), 5)
	})
}

// dpkg orders versions of the archive as we do.
func TestDpkgJudges(t *testing.T) {
	suites := debian(t)
	var versions []string
	i := 0
	for name := range suites[0].Indexes[0].Names() {
		if i++; i%250 == 0 {
			p, err := suites[0].Indexes[0].Named(name)
			require.NoError(t, err)
			versions = append(versions, p[0].Version)
		}
	}
	versions = append(versions, "0~~", "1.0~", "1.0", "1.0-0", "0:1.0", "1.0a", "1.0+", "1.01", "1.1", "a", "1.0-1~bpo12+1")
	require.Greater(t, len(versions), 200)
	for i, a := range versions {
		b := versions[(i*7+1)%len(versions)]
		op := "eq"
		if c := resolver.Compare(a, b); c < 0 {
			op = "lt"
		} else if c > 0 {
			op = "gt"
		}
		out, err := toolstest.Command(t, "dpkg", "--compare-versions", a, op, b).CombinedOutput()
		assert.NoError(t, err, "%s %s %s: %s", a, op, b, out)
	}
}
