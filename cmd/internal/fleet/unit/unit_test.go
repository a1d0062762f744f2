package unit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/unit"
)

func parse(t testing.TB, text string) *unit.File {
	t.Helper()
	f, err := unit.Parse([]byte(text))
	require.NoError(t, err)
	return f
}

// The hashes are those of fleet's own tests.
func TestHash(t *testing.T) {
	for text, want := range map[string]string{
		"\n[Service]\nExecStart=/usr/bin/sleep infinity\n": "40ea6646945809f4b420a50475ee68503088f127",
		"[Service]\nExecStart=/usr/bin/sleep infinity":     "40ea6646945809f4b420a50475ee68503088f127",
		"# why\n[Service]\nExecStart=/usr/bin/sleep 10":    "5bf16b98c62f35fcdc723d32989cdeba7a2dd2a8",
		"[Service]\nExecStart=/usr/bin/sleep 2000":         "5ba5292ab6a82b623ee6086dc90b3354ba004832",
	} {
		assert.Equal(t, want, parse(t, text).Hash())
	}
	assert.Equal(t, "40ea664", unit.ShortHash("40ea6646945809f4b420a50475ee68503088f127"))
}

func TestParse(t *testing.T) {
	f := parse(t, "[Unit]\nDescription=a\n[Service]\nExecStart=/bin/a \\\n  b\n[X-Fleet]\nGlobal=true\n[Unit]\nAfter=c\n")
	assert.Equal(t, "[Unit]\nDescription=a\nAfter=c\n\n[Service]\nExecStart=/bin/a \\\n  b\n\n[X-Fleet]\nGlobal=true\n", string(f.Bytes()))
	assert.Equal(t, "a", f.Description())
	assert.False(t, f.Installable())
	assert.True(t, parse(t, "[Install]\nWantedBy=multi-user.target\n").Installable())

	for text, want := range map[string]string{
		"[Unit\nA=b":                                 "unable to find end of section",
		"[Unit]\nA=" + strings.Repeat("x", 3000):     "line too long (max 2048 bytes)",
		"[Unit]\nA=b\n\xff\n":                        "unit is not UTF-8 in line 3",
		"[Unit]\nA=b\x00\n":                          "unit has a zero byte",
		strings.Repeat("# a comment line\n", 100000): "unit is 1700000 bytes, at most 65536",
		"[Unit]x\nA=b":                               `found garbage after section name : "x"`,
	} {
		_, err := unit.Parse([]byte(text))
		assert.EqualError(t, err, want)
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"":                                   "unit name cannot be empty",
		strings.Repeat("a", 250) + ".socket": "unit name exceeds maximum length (256)",
		"fooservice":                         `unit name must contain "."`,
		"foo.":                               `unit name cannot end in "."`,
		"foo.servICE":                        `invalid unit type: "servICE"`,
		"foo@1.mount":                        `invalid unit type for template: "mount"`,
		"yes/no.service":                     `invalid character '/' in unit name`,
		"../a.service":                       `invalid character '/' in unit name`,
		"foo%.service":                       `invalid character '%' in unit name`,
		"föö.service":                        `invalid character 'ö' in unit name`,
		"a\xff.service":                      `invalid character '�' in unit name`,
		"@foo.service":                       `unit name cannot start in "@"`,
		".service":                           `unit name cannot start in "."`,
		"foo.service":                        "", "hello.mount": "", "foo@123.service": "", `a\x2db:c_d.e.timer`: "", "foo@.socket": "",
	} {
		err := unit.CheckName(name)
		if want == "" {
			assert.NoError(t, err, name)
		} else {
			assert.EqualError(t, err, want)
		}
	}
}

func TestSplitName(t *testing.T) {
	for name, want := range map[string]unit.Name{
		"foo.service":         {Full: "foo.service", Name: "foo", Prefix: "foo"},
		"foo@bar.service":     {Full: "foo@bar.service", Name: "foo@bar", Prefix: "foo", Template: "foo@.service", Instance: "bar"},
		"foo@.service":        {Full: "foo@.service", Name: "foo@", Prefix: "foo", Template: "foo@.service"},
		"foo@bar@baz.service": {Full: "foo@bar@baz.service", Name: "foo@bar@baz", Prefix: "foo", Template: "foo@.service", Instance: "bar@baz"},
		"foo.1@b.2.service":   {Full: "foo.1@b.2.service", Name: "foo.1@b.2", Prefix: "foo.1", Template: "foo.1@.service", Instance: "b.2"},
	} {
		got, ok := unit.SplitName(name)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	_, ok := unit.SplitName("foo")
	assert.False(t, ok)
	assert.True(t, unit.IsTemplate("foo@.service"))
	assert.False(t, unit.IsTemplate("foo@1.service"))
	for typed, want := range map[string]string{
		"foo": "foo.service", "foo.socket": "foo.socket", "foo.1": "foo.1.service", "foo@1": "foo@1.service", "a.target": "a.target",
	} {
		assert.Equal(t, want, unit.CompleteName(typed))
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       unit.Rules
	}{
		{"foo.service", "", unit.Rules{}},
		{"foo.service", "Global=true", unit.Rules{Global: true}},
		{"foo.service", "Global=no\nGlobal=T", unit.Rules{Global: true}},
		{"foo.service", "Global=on\nGlobal=0", unit.Rules{}},
		{"foo.service", "MachineID=abc", unit.Rules{MachineID: "abc"}},
		{"foo.service", "X-ConditionMachineBootID=b\nX-ConditionMachineID=c", unit.Rules{MachineID: "c"}},
		{"foo@7.service", "MachineOf=%p.socket\nMachineOf=%p@%i.socket\nX-ConditionMachineOf=x%n",
			unit.Rules{Peers: []string{"xfoo@7.service", "foo.socket", "foo@7.socket"}}},
		{"foo@7.service", "Conflicts=%p@*.service a*\nX-Conflicts=b%N", unit.Rules{Conflicts: []string{"bfoo@7", "foo@*.service", "a*"}}},
		{"foo.service", "Replaces=bar*.service", unit.Rules{Replaces: []string{"bar*.service"}}},
		{"foo.service", `MachineMetadata="region=us-east-1" "diskType=SSD"` + "\nMachineMetadata=region=us-west-1",
			unit.Rules{Metadata: map[string][]string{"region": {"us-east-1", "us-west-1"}, "diskType": {"SSD"}}}},
		{"foo.service", "X-ConditionMachineMetadata=a=b", unit.Rules{Metadata: map[string][]string{"a": {"b"}}}},
	} {
		f := parse(t, "[Service]\nGlobal=true\nExecStart=/bin/a\n[X-Fleet]\n"+c.text+"\n")
		assert.NoError(t, unit.CheckFile(c.name, f), c.text)
		assert.Equal(t, c.want, *f.Rules(c.name), c.text)
	}
}

func TestCheckFile(t *testing.T) {
	for text, want := range map[string]string{
		"Foo=bar":                          `unrecognized requirement in [X-Fleet] section: "Foo"`,
		"MachineID=a\nMachineOf=b.socket":  "MachineID cannot be used with Peers",
		"MachineID=a\nConflicts=b":         "MachineID cannot be used with Conflicts",
		"MachineID=a\nGlobal=true":         "MachineID cannot be used with Global",
		"MachineID=a\nReplaces=b":          "MachineID cannot be used with Replaces",
		"Global=true\nMachineOf=b.socket":  "Global cannot be used with Peers",
		"Global=true\nReplaces=b":          "Global cannot be used with Replaces",
		"Conflicts=a\nReplaces=b":          "Conflicts cannot be used with Replaces",
		"MachineOf=b.socket\nConflicts=b*": `unresolvable requirements: peer "b.socket" matches conflict "b*"`,
		"MachineOf=b.socket\nReplaces=b*":  `unresolvable requirements: peer "b.socket" matches replace "b*"`,
		"MachineOf=foo.service":            "MachineOf of units leads back to the first: foo.service -> foo.service",
		"MachineOf=b":                      `malformed MachineOf "b": unit name must contain "."`,
		"Global=perhaps":                   `malformed Global "perhaps": want true or false`,
		"MachineMetadata=region":           `malformed MachineMetadata "region": want key=value`,
		"MachineMetadata=a=b=c":            `malformed MachineMetadata "a=b=c": want key=value`,
		"Conflicts=[":                      `malformed pattern "[": syntax error in pattern`,
	} {
		assert.EqualError(t, unit.CheckFile("foo.service", parse(t, "[X-Fleet]\n"+text+"\n")), want)
	}
	// Options that did not come from a file.
	for _, o := range []unit.Option{
		{"Service", "ExecStart", "/bin/a\nExecStop=/bin/b"}, {"Service]\n[X", "A", "b"}, {"Service", "A=b\nC", "d"}, {"Service", "", "a"},
	} {
		assert.Error(t, unit.CheckFile("foo.service", &unit.File{Options: []unit.Option{o}}), fmt.Sprintf("%q", o))
	}
	assert.EqualError(t, unit.CheckFile("foo", &unit.File{}), `unit name must contain "."`)
}

func TestCycles(t *testing.T) {
	follows := func(peers ...string) *unit.Rules { return &unit.Rules{Peers: peers} }
	others := map[string]*unit.Rules{
		"a.service": follows("b.service"), "b.service": follows("c.service"), "d.service": {Replaces: []string{"e*"}},
	}
	assert.EqualError(t, unit.CheckCycles("c.service", follows("x.service", "a.service"), others),
		"MachineOf of units leads back to the first: c.service -> a.service -> b.service -> c.service")
	assert.NoError(t, unit.CheckCycles("c.service", follows("x.service"), others))
	assert.EqualError(t, unit.CheckCycles("e.service", &unit.Rules{Replaces: []string{"d.*"}}, others),
		"Replaces of units leads back to the first: e.service -> d.service -> e.service")
	assert.NoError(t, unit.CheckCycles("e.service", &unit.Rules{Replaces: []string{"e*"}}, nil), "not itself")
	assert.NotContains(t, others, "c.service")
}

func TestMatchMachine(t *testing.T) {
	id := "32a89c4b1a7a4c8b9d7d1f0a2b3c4d5e"
	assert.True(t, unit.MatchMachine(id, id))
	assert.True(t, unit.MatchMachine("32a89c4b", id))
	assert.False(t, unit.MatchMachine("32a89c4", id))
	assert.False(t, unit.MatchMachine("", id))
	assert.False(t, unit.MatchMachine("", ""))
}

// A unit that is accepted means the same after it was written and read.
func FuzzUnit(f *testing.F) {
	for _, text := range []string{
		"[Unit]\nDescription=a\n[X-Fleet]\nGlobal=true\n", "[X-Fleet]\nMachineMetadata=\"a=b\" \"c=d\"\nConflicts=%p@*\n",
		"# c\n[Service]\nExecStart=/bin/a \\\n b\n", "[a]\n[b]\nc=\n", "[X-Fleet]\nMachineOf=%n\n",
	} {
		f.Add("foo@1.service", []byte(text))
	}
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		u, err := unit.Parse(text)
		if err != nil {
			return
		}
		hash := u.Hash()
		if unit.CheckFile(name, u) != nil {
			return
		}
		again, err := unit.Parse(u.Bytes())
		require.NoError(t, err)
		assert.Equal(t, hash, again.Hash())
		assert.Equal(t, u.Rules(name), again.Rules(name))
		assert.NoError(t, unit.CheckFile(name, again))
		assert.NotContains(t, name, "/")
	})
}
