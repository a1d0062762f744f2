package fleetctl_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/unit"
)

const sleeper = "[Unit]\nDescription=Sleeper\n\n[Service]\nExecStart=/usr/bin/sleep infinity\n"

// What is said, in every command's good and bad cases.
func TestMessages(t *testing.T) {
	x := newTerminal(t)
	x.write("a.service", sleeper)
	x.write("b.service", sleeper+"\n[X-Fleet]\nMachineMetadata=location=nowhere\n")
	x.write("w@.service", sleeper+"\n[X-Fleet]\nConflicts=%p@*.service\n")
	x.write("bad.service", "[X-Fleet]\nMachineID=x\nGlobal=true\n")
	x.write("worse.service", "[X-Fleet]\nFoo=bar\n")
	x.write("latin.service", "[Unit]\nDescription=caf\xe9\n")
	on := " on 32a89c4b.../10.0.0.21\n"
	for _, step := range []struct{ line, want string }{
		{"submit a.service", "Unit a.service inactive\n"},
		{"submit a", ""},
		{"submit", "! No units given\n"},
		{"submit none.service", "! Error creating units: unable to find Unit(none.service) in Registry or on filesystem\nexit 1\n"},
		{"submit bad.service", "! Error creating units: failed creating unit bad.service: MachineID cannot be used with Global\nexit 1\n"},
		{"submit worse.service", "! Error creating units: failed creating unit worse.service: unrecognized requirement in [X-Fleet] section: \"Foo\"\nexit 1\n"},
		{"submit latin.service", "! Error creating units: failed getting Unit(latin.service) from file: unit is not UTF-8 in line 2\nexit 1\n"},
		{"cat a.service", sleeper},
		{"cat c", "! Unit c.service not found\nexit 1\n"},
		{"cat", "! One unit file must be provided\nexit 1\n"},
		{"load a.service", "Unit a.service loaded" + on},
		{"load a.service", ""},
		{"start a", "Unit a.service launched" + on},
		{"start a --no-block", ""},
		{"stop a.service", "Unit a.service loaded" + on + "! Successfully stopped units [a.service].\n"},
		{"stop a.service", ""},
		{"unload a.service", "Unit a.service inactive\n! Successfully unloaded units [a.service].\n"},
		{"unload a.service", ""},
		{"stop a.service", "! Unable to stop unit a.service in state inactive\nexit 1\n"},
		{"start --no-block a.service", "Triggered unit a.service start\n"},
		{"restart a.service", "Unit a.service loaded" + on + "Unit a.service launched" + on},
		{"start missing.service", "! Error creating units: unable to find Unit(missing.service) in Registry or on filesystem\nexit 1\n"},

		// Templates.
		{"start w@1.service", "Unit w@1.service inactive\nUnit w@1.service launched on 9b2fc7d5.../10.0.0.22\n"},
		{"submit w@.service", "Unit w@.service inactive\n"},
		{"start v@1.service", "! Error creating units: unable to find template Unit(v@.service) in Registry or on filesystem\nexit 1\n"},
		{"start w@.service", "! Error starting units: cannot activate template \"w@.service\"\nexit 1\n"},
		{"restart w@.service", "! Unable to restart unit w@.service in state inactive\nexit 1\n"},

		{"list-units --fields=unit,machine,load,hash --full", `UNIT		MACHINE						LOAD	HASH
a.service	32a89c4b1a7a4c8b9d7d1f0a2b3c4d5e/10.0.0.21	loaded	` + hash(t, sleeper) + `
w@1.service	9b2fc7d5aa004c8b9d7d1f0a2b3c4d5e/10.0.0.22	loaded	` + hash(t, sleeper+"\n[X-Fleet]\nConflicts=%p@*.service\n") + "\n"},
		{"list-unit-files --no-legend --fields unit,desc,global,tmachine", "! WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead\n" +
			"a.service\tSleeper\tfalse\t32a89c4b.../10.0.0.21\nw@.service\tSleeper\tfalse\t-\nw@1.service\tSleeper\tfalse\t9b2fc7d5.../10.0.0.22\n"},
		{"list-machines --no-legend -l --fields=ip,machine", "10.0.0.21\t32a89c4b1a7a4c8b9d7d1f0a2b3c4d5e\n10.0.0.22\t9b2fc7d5aa004c8b9d7d1f0a2b3c4d5e\n"},
		{"list-units --fields=unit,color", "! Invalid key in output format: \"color\"\nexit 1\n"},
		{"list-units --fields=", "! Must define output format\nexit 1\n"},

		{"destroy a w@1 none", "Destroyed a.service\nDestroyed w@1.service\n"},
		{"destroy a", "! Units not found in registry\n"},
		{"verify a", "! WARNING: The signed/verified units feature is DEPRECATED and cannot be used.\nexit 2\n"},
		{"start --sign a", "! WARNING: The signed/verified units feature is DEPRECATED and cannot be used.\nexit 2\n"},
		{"version", "fleetctl version 1.0.0\n"},
		{"--version", "fleetctl version 1.0.0\n"},
		{"list-mach --no-legend --fields ip", "10.0.0.21\n10.0.0.22\n"},
		{"list", "! fleetctl: unknown command \"list\"\n! hint: fleetctl help\nexit 2\n"},
		{"list-units --color", "! fleetctl: flag provided but not defined: -color\n! hint: fleetctl help\nexit 2\n"},
		{"--driver etcd list-units", "! Unable to initialize client: unrecognized driver \"etcd\"\nexit 1\n"},
		{"--endpoint unix://run/fleet.sock list-units", "! Unable to initialize client: unable to connect to host \"run\" with scheme \"unix\"\nexit 1\n"},
		{"--endpoint run/fleet.sock list-units", "! Unable to initialize client: URL scheme undefined\nexit 1\n"},
		{"--endpoint ftp://x list-units", "! Unable to initialize client: unsupported URL scheme \"ftp\"\nexit 1\n"},
		{"--endpoint unix:///none list-units", "! Error retrieving list of units from repository: dial unix /none: connect: no such file or directory\nexit 1\n"},
	} {
		assert.Equal(t, step.want, x.run(step.line), step.line)
	}

	// A unit that no machine takes.
	assert.Equal(t, "Unit b.service inactive\n! Error waiting for units: timed out waiting for unit b.service to report state launched\n"+
		"! Error waiting for unit states, exit status: timed out waiting for unit b.service to report state launched\nexit 1\n",
		x.run("start --block-attempts=2 b.service"))
	assert.Equal(t, 15*250*time.Millisecond, x.slept, "two attempts of two seconds")
	x.store.Err = errors.New("etcd is away")
	assert.Equal(t, `! Error retrieving list of active machines from fleet API (fleet server unable to communicate with etcd)
! Possible issues:
!   etcd is unhealthy and/or lost quorum
!   connection cannot be established to any etcd servers
exit 1
`, x.run("list-machines"))
	x.env["FLEETCTL_REQUEST_TIMEOUT"] = "soon"
	assert.Equal(t, "! fleetctl: invalid value \"soon\" for FLEETCTL_REQUEST_TIMEOUT: parse error\n! hint: fleetctl help\nexit 2\n", x.run("list-machines"))
}

func hash(t *testing.T, text string) string {
	f, err := unit.Parse([]byte(text))
	require.NoError(t, err)
	return f.Hash()
}

func TestReplace(t *testing.T) {
	x := newTerminal(t)
	x.write("a.service", sleeper)
	x.run("start a.service")
	x.write("a.service", sleeper+"Restart=always\n")
	on := " on 32a89c4b.../10.0.0.21\n"
	for _, step := range []struct{ line, want string }{
		{"start a.service", "! WARNING: Unit a.service in registry differs from local unit file a.service. Add --replace to override.\n"},
		{"submit --replace a.service", "! Warning: can not replace Unit(a.service) in state 'launched', use the appropriate command\n"},
		{"start --replace a.service", "Unit a.service launched" + on},
		{"start --replace a.service", "Found same Unit(a.service) in Registry, nothing to do\n"},
		{"cat a.service", sleeper + "Restart=always\n"},
	} {
		assert.Equal(t, step.want, x.run(step.line), step.line)
	}
}

func TestHelp(t *testing.T) {
	x := newTerminal(t)
	all := x.run("")
	for _, name := range []string{"list-machines", "list-units", "list-unit-files", "submit", "load", "start", "stop", "unload", "destroy", "cat",
		"status", "journal", "ssh", "restart", "version", "help"} {
		assert.Contains(t, all, "\t"+name+"\t")
		one := x.run("help " + name)
		assert.Contains(t, one, "NAME:\n\t"+name+" - ")
		assert.Equal(t, one, x.run(name+" --help"))
	}
	assert.Equal(t, all, x.run("help"))
	assert.Equal(t, all, x.run("-h"))
	assert.Contains(t, all, "--endpoint=unix:///var/run/fleet.sock")
	assert.Contains(t, x.run("help stop"), "--no-block=false")
}

// What has to be done on machines is done by programs.
func TestRemote(t *testing.T) {
	x := newTerminal(t)
	x.write("a.service", sleeper)
	x.write("b.service", sleeper)
	x.write("g.service", sleeper+"\n[X-Fleet]\nGlobal=true\n")
	x.run("start a.service b.service g.service")
	ssh := "ssh -o ConnectTimeout=10 -l core -o UserKnownHostsFile=/home/core/.fleetctl/known_hosts "
	for _, c := range []struct{ line, want, said string }{
		{"status a.service", "systemctl status -l a.service", ""},
		{"status b.service", ssh + "-- 10.0.0.22 systemctl status -l b.service", ""},
		{"status g.service", "systemctl status -l g.service | " + ssh + "-- 10.0.0.22 systemctl status -l g.service", ""},
		{"restart g.service", "sudo systemctl restart g.service | " + ssh + "-- 10.0.0.22 sudo systemctl restart g.service", ""},
		{"status none", "", "! Unit none.service does not exist.\nexit 1\n"},
		{"journal -f --lines 5 a", "journalctl --unit a.service --no-pager -n 5 --output short -f", ""},
		{"journal --sudo --ssh-port=2222 --output json b", ssh + "-p 2222 -- 10.0.0.22 sudo journalctl --unit b.service --no-pager -n 10 --output json", ""},
		{"journal g", "", "! Unable to retrieve journal of global unit g.service.\nexit 1\n"},
		{"journal none", "", "! Unit none.service does not exist.\nexit 1\n"},
		{"journal", "", "! One unit file must be provided.\nexit 1\n"},
		{"ssh b.service", ssh + "-- 10.0.0.22", ""},
		{"ssh -A 9b2f uptime -p", ssh + "-A -- 10.0.0.22 uptime -p", ""},
		{"ssh 9b2f -- ls", ssh + "-- 10.0.0.22 ls", ""},
		{"ssh --machine 32a8 ls", ssh + "-- 10.0.0.21 ls", ""},
		{"ssh --unit b", ssh + "-- 10.0.0.22", ""},
		{"ssh", "", "! Unable to proceed: one machine or unit must be provided\nexit 1\n"},
		{"ssh --machine a --unit b", "", "! Unable to proceed: both machine and unit flags provided, please specify only one\nexit 1\n"},
		{"ssh g.service", "", "! Unable to proceed: could not find matching unit or machine\nexit 1\n"},
		{"ssh --machine x", "", "! Unable to proceed: machine does not exist\nexit 1\n"},
		{"ssh --unit g", "", "! Unable to proceed: global units unsupported\nexit 1\n"},
	} {
		x.ran = nil
		assert.Equal(t, c.said, x.run(c.line), c.line)
		var ran []string
		for _, argv := range x.ran {
			ran = append(ran, strings.Join(argv, " "))
		}
		assert.Equal(t, c.want, strings.Join(ran, " | "), c.line)
	}
	x.exit = 3
	assert.Equal(t, "exit 3\n", x.run("status a.service"), "as systemctl says")
}

// Through a tunnel everything goes over ssh: the API and the shells.
func TestTunnel(t *testing.T) {
	x := newTerminal(t)
	x.env["FLEETCTL_ENDPOINT"] = ""
	want := "10.0.0.21\n10.0.0.22\n"
	assert.Equal(t, want, x.run("--tunnel 192.0.2.1:2200 list-machines --no-legend --fields=ip"))
	assert.Equal(t, "ssh -o ConnectTimeout=10 -l core -o UserKnownHostsFile=/home/core/.fleetctl/known_hosts -p 2200 -- 192.0.2.1 "+
		"fleetctl fd-forward /var/run/fleet.sock", strings.Join(x.piped, " "))
	assert.Equal(t, want, x.run("--tunnel 192.0.2.1 --strict-host-key-checking=false --ssh-username me --ssh-timeout 3 "+
		"--endpoint http://10.0.0.5:49153 list-machines --no-legend --fields=ip"))
	assert.Equal(t, "ssh -o ConnectTimeout=3 -l me -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "+
		"-W 10.0.0.5:49153 -- 192.0.2.1", strings.Join(x.piped, " "))
	x.run("--tunnel 192.0.2.1 ssh 9b2fc")
	assert.Equal(t, "ssh -o ConnectTimeout=10 -l core -o UserKnownHostsFile=/home/core/.fleetctl/known_hosts -J core@192.0.2.1 -- 10.0.0.22",
		strings.Join(x.ran[0], " "))
}
