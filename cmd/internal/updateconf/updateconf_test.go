package updateconf_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/updateconf"
)

func read(etc, usr string) *updateconf.Config {
	return updateconf.Read(fstest.MapFS{
		"etc/coreos/update.conf":       {Data: []byte(etc)},
		"usr/share/coreos/update.conf": {Data: []byte(usr)},
	})
}

func problems(c *updateconf.Config) string {
	var lines []string
	for _, p := range c.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func TestDefaults(t *testing.T) {
	assert.Equal(t, &updateconf.Config{
		RebootStrategy: "reboot", HealthSettle: 45 * time.Second, HealthTimeout: 10 * time.Minute, UpdateTries: 2,
		Reboot: reboot(),
	}, updateconf.Read(fstest.MapFS{}))
}

// reboot is what holds when no file says how to restart.
func reboot() updateconf.Reboot {
	return updateconf.Reboot{
		Method: "firmware", Etcd: updateconf.Etcd{Endpoints: []string{"http://127.0.0.1:2379"}},
	}
}

func TestOneFileOverTheOther(t *testing.T) {
	c := read("# mine\nGROUP=beta\nREBOOT_STRATEGY='off'\nHEALTH_SETTLE=\nSERVER = \"disabled\" \n",
		"GROUP=alpha\r\nSERVER=https://updates.example/v1/update/\r\n; more\nHEALTH_SETTLE=2min\nMACHINE_ALIAS=x\n")
	assert.Equal(t, &updateconf.Config{
		Group: "beta", Server: updateconf.ServerDisabled, RebootStrategy: updateconf.RebootOff,
		HealthSettle: 2 * time.Minute, HealthTimeout: 10 * time.Minute,
		UpdateTries: 2, MachineAlias: "x", Reboot: reboot(),
	}, c)
}

func TestChannelOfTheDisk(t *testing.T) {
	c := updateconf.Read(fstest.MapFS{
		"oem/update.conf":              {Data: []byte("GROUP=beta\n")},
		"usr/share/coreos/update.conf": {Data: []byte("GROUP=stable\nREBOOT_STRATEGY=off\n")},
	})
	assert.Equal(t, "beta", c.Group)
	assert.Equal(t, "off", c.RebootStrategy)
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ name, etc, want string }{
		{"no value", "GROUP=beta\n\njust words\n", `/etc/coreos/update.conf:3: "just words" is not KEY=VALUE`},
		{"unknown key", "HEALTH_SETLE=3s", `/etc/coreos/update.conf:1: unknown key "HEALTH_SETLE"`},
		{"strategy", "REBOOT_STRATEGY=never",
			`/etc/coreos/update.conf:1: "never" is not one of reboot, etcd-lock, best-effort, off; taking reboot`},
		{"time", "HEALTH_SETTLE=soon", `/etc/coreos/update.conf:1: "soon" is not a time such as 45s or 10min; taking 45s`},
		{"unit", "HEALTH_SETTLE=3y", `/etc/coreos/update.conf:1: "3y" is not a time such as 45s or 10min; taking 45s`},
		{"long", "HEALTH_TIMEOUT=25h", `/etc/coreos/update.conf:1: "25h" is more than 24h0m0s; taking 10m0s`},
		{"sum", "HEALTH_TIMEOUT=23h 61min", `/etc/coreos/update.conf:1: "23h 61min" is more than 24h0m0s; taking 10m0s`},
		{"order", "\nHEALTH_TIMEOUT=30",
			`/etc/coreos/update.conf:2: HEALTH_TIMEOUT 30s is not longer than HEALTH_SETTLE 45s; taking 10m45s`},
		{"order by the other", "HEALTH_SETTLE=1h",
			`/etc/coreos/update.conf:1: HEALTH_TIMEOUT 10m0s is not longer than HEALTH_SETTLE 1h0m0s; taking 1h10m0s`},
		{"long line", "GROUP=" + strings.Repeat("x", 70_000), `/etc/coreos/update.conf:1: bufio.Scanner: token too long`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := read(c.etc, "")
			assert.Equal(t, c.want, problems(got))
			assert.Greater(t, got.HealthTimeout, got.HealthSettle)
		})
	}
}

func TestDirectoryInPlaceOfFile(t *testing.T) {
	c := updateconf.Read(fstest.MapFS{"etc/coreos/update.conf/x": {}})
	assert.Contains(t, problems(c), "/etc/coreos/update.conf:1: ")
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "7 sec": 7 * time.Second, "1min 30s": 90 * time.Second,
		"1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "24h": 24 * time.Hour,
	} {
		c := read("HEALTH_SETTLE="+text, "")
		assert.Equal(t, want, c.HealthSettle, text)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("GROUP=x\nHEALTH_SETTLE=1h 3min\n", "SERVER='a'\n")
	f.Add("=\n\"\nHEALTH_TIMEOUT=99999999999999999999s", "HEALTH_SETTLE=1s1")
	f.Fuzz(func(t *testing.T, etc, usr string) {
		c := read(etc, usr)
		assert.Greater(t, c.HealthTimeout, c.HealthSettle)
		assert.LessOrEqual(t, c.HealthSettle, 24*time.Hour)
		assert.NotEmpty(t, c.RebootStrategy)
	})
}
