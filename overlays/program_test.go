package overlays_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/overlays"
)

// agent is a layer with a program of its own module.
const agent = `programs:
  usr/bin/agent: {module: agent, package: example.org/agent, variables: {example.org/agent/v.Commit: abc}}
`

func TestPrograms(t *testing.T) {
	mod := []string{"agent/go.mod", "module m\n", "agent/go.sum", ""}
	c, err := overlays.Merge(nil, load(t, "own", agent, mod...))
	require.NoError(t, err)
	require.Len(t, c.Programs(), 1)
	f := c.Programs()[0]
	assert.Equal(t, "usr/bin/agent", f.Path)
	assert.EqualValues(t, 0o755, f.Mode)
	assert.Equal(t, "own/agent", f.Program.Dir)
	text, err := fs.ReadFile(f.Program.Module, "go.mod")
	require.NoError(t, err)
	assert.Equal(t, "module m\n", string(text))

	for _, test := range []struct{ name, later, want string }{
		{"file", "files:\n  usr/bin/agent: {content: x}\n", "overlays own and later conflict on /usr/bin/agent"},
		{"program", agent, "overlays own and later conflict on /usr/bin/agent"},
		{"omit nothing", "programs: {usr/bin/other: {omit: true}}\n",
			`later/overlay.yaml: programs: "usr/bin/other": omit: no earlier layer has it`},
		{"omit", "programs: {usr/bin/agent: {omit: true}}\n", ""},
	} {
		c, err := overlays.Merge(nil, load(t, "own", agent, mod...), load(t, "later", test.later, mod...))
		if test.want == "" {
			require.NoError(t, err, test.name)
			assert.Empty(t, c.Programs(), test.name)
			continue
		}
		assert.EqualError(t, err, test.want, test.name)
	}
}

func TestProgramErrors(t *testing.T) {
	one := func(spec string) string { return "programs:\n  usr/bin/a: {" + spec + "}\n" }
	for _, test := range []struct{ name, yaml, want string }{
		{"no module", one("package: example.org/a"), `module: "" is not a directory of the layer`},
		{"the layer itself", one("module: ., package: a"), `module: "." is not a directory of the layer`},
		{"outside", one("module: ../x, package: a"), `module: "../x" is not a directory of the layer`},
		{"in the image", one("module: files/usr/src, package: a"), `module: "files/usr/src" is part of the image`},
		{"no package", one("module: m"), `package: "" is not an import path`},
		{"a flag", one("module: m, package: -x"), `package: "-x" is not an import path`},
		{"upwards", one("module: m, package: ./../x"), `package: "./../x" is not an import path`},
		{"not there", one("module: m, package: a"), `no go.mod in base/m`},
		{"not pinned", one("module: half, package: a"), `no go.sum in base/half`},
		{"variable", one("module: agent, package: a, variables: {x: y}"),
			`variables: "x" is not an import path, a dot and a name`},
		{"value", one(`module: agent, package: a, variables: {a.B: "it's"}`),
			`variables: a.B holds a quote or a line break`},
		{"omit and more", one("omit: true, package: a"), `omit: stands alone`},
		{"file too", one("module: agent, package: a") + "files:\n  usr/bin/a: {content: x}\n",
			`is among the layer's files too`},
		{"elsewhere", "programs:\n  etc/a: {module: agent, package: a}\n", "not below usr/"},
		{"not clean", "programs:\n  usr/../bin/a: {module: agent, package: a}\n", "leaves the root"},
	} {
		_, err := overlays.Load(layer(test.yaml, "agent/go.mod", "", "agent/go.sum", "", "half/go.mod", ""), "base")
		require.ErrorContains(t, err, "base/overlay.yaml: ", test.name)
		assert.ErrorContains(t, err, test.want, test.name)
	}
}
