package updateconf_test

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/updateconf"
)

func TestReboot(t *testing.T) {
	c := read(`REBOOT_METHOD=kexec
LOCKSMITHD_REBOOT_WINDOW_START="Thu 23:00"
LOCKSMITHD_REBOOT_WINDOW_LENGTH=1h30m
LOCKSMITHD_HOLDER_TIMEOUT=20min
LOCKSMITHD_ENDPOINT=https://a.example:2379, https://b.example:2379
LOCKSMITHD_GROUP=load balancers
LOCKSMITHD_ETCD_CAFILE=/etc/ssl/ca.pem
LOCKSMITHD_ETCD_CERTFILE=/etc/ssl/me.pem
LOCKSMITHD_ETCD_KEYFILE=/etc/ssl/me.key
`, "")
	assert.Empty(t, problems(c))
	require.NotNil(t, c.Reboot.Window)
	assert.Equal(t, "Thu 23:00 for 1h30m0s", c.Reboot.Window.String())
	c.Reboot.Window = nil
	assert.Equal(t, updateconf.Reboot{
		Method: "kexec", HolderTimeout: 20 * time.Minute,
		Etcd: updateconf.Etcd{
			Endpoints: []string{"https://a.example:2379", "https://b.example:2379"}, Configured: true,
			Group:  "load balancers",
			CAFile: "/etc/ssl/ca.pem", CertFile: "/etc/ssl/me.pem", KeyFile: "/etc/ssl/me.key",
		},
	}, c.Reboot)
}

func TestOldNamesOfTheWindow(t *testing.T) {
	c := read("REBOOT_WINDOW_START=14:00\nREBOOT_WINDOW_LENGTH=1h\n", "")
	assert.Empty(t, problems(c))
	assert.Equal(t, "14:00 for 1h0m0s", c.Reboot.Window.String())
}

// A drop-in of the unit, as coreos-cloudinit wrote them, wins over the files.
func TestEnvironmentWins(t *testing.T) {
	c := updateconf.ReadOver(fstest.MapFS{
		"etc/coreos/update.conf": {Data: []byte("LOCKSMITHD_GROUP=web\nREBOOT_STRATEGY=off\n")},
	}, map[string]string{"LOCKSMITHD_GROUP": "lb", "REBOOT_STRATEGY": "", "REBOOT_METHOD": "warp", "PATH": "/bin"})
	assert.Equal(t, "lb", c.Reboot.Etcd.Group)
	assert.Equal(t, "off", c.RebootStrategy)
	assert.Equal(t, `environment: "warp" is not one of firmware, kexec; taking firmware`, problems(c))
}

// A window that makes no sense never comes, and says so.
func TestWindowProblems(t *testing.T) {
	const after = "; this machine will not restart by itself"
	for _, c := range []struct{ name, etc, want string }{
		{"no length", "\nLOCKSMITHD_REBOOT_WINDOW_START=14:00",
			"/etc/coreos/update.conf:2: reboot window: has no length"},
		{"no start", "LOCKSMITHD_REBOOT_WINDOW_LENGTH=1h", "/etc/coreos/update.conf:1: reboot window: has no start"},
		{"day", "LOCKSMITHD_REBOOT_WINDOW_START=Thr 4:00\nLOCKSMITHD_REBOOT_WINDOW_LENGTH=1h",
			`/etc/coreos/update.conf:1: reboot window: start "Thr 4:00": "Thr" is not one of Sun, Mon, Tue, Wed, Thu, Fri, Sat`},
		{"length", "LOCKSMITHD_REBOOT_WINDOW_START=4:00\nLOCKSMITHD_REBOOT_WINDOW_LENGTH=24h",
			"/etc/coreos/update.conf:1: reboot window: length 24h0m0s: want more than 0 and less than 24h0m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := read(c.etc, "")
			assert.Equal(t, c.want+after, problems(got))
			require.NotNil(t, got.Reboot.Window)
			assert.True(t, got.Reboot.Window.Never())
		})
	}
}
