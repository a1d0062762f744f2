package qemutests_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/build/tools"
	"slipway/build/tools/toolstest"
	"slipway/build/uki"
	"slipway/qemu-tests/vm"
)

var (
	channelFlag = flag.String("channel", "ci", "test the image of `CHANNEL`: alpha, beta, stable, all, or ci "+
		"for alpha and some of the others")
	accelFlag   = flag.String("accel", "auto", "run machines with `ACCEL`: auto, tcg or kvm")
	releaseFlag = flag.String("release", "", "test the release in `DIR` instead of building one")
	signFlag    = flag.String("sign", "", "sign what is built by these `FLAGS` of slipway build, one a line")
	consoleFlag = flag.Bool("console", false, "log the consoles as they come")
	keepFlag    = flag.Bool("keep", false, "keep the files of machines that fail")
)

// shared is what all tests of one run share: the image of a channel is built
// once, though it is tested by many.
var shared = &bench{labs: map[string]*lab{}}

// bench is where machines are tested.
type bench struct {
	cache string // of slipway
	tools *tools.Tree

	mu      sync.Mutex
	labs    map[string]*lab
	accel   vm.Accel
	scratch string // directory of what outlives a test
}

// connectWord has this program connect its input and output with an address,
// for machines that reach something of the tests': see vm.Config.Reach.
const connectWord = "connect-guest"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == connectWord {
		if err := vm.Connect(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	oneMore()
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// oneMore has one more test run at once than there are processors, unless the
// command line says how many: a third of the time machines wait.
func oneMore() {
	const name = "test.parallel"
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == name })
	if said {
		return
	}
	if err := flag.Set(name, strconv.Itoa(runtime.GOMAXPROCS(0)+1)); err != nil {
		panic("internal error: " + err.Error())
	}
}

// close ends the machines that tests share and removes their files.
func (b *bench) close() error {
	var errs []error
	for _, l := range b.labs {
		for _, v := range l.machines {
			errs = append(errs, v.Close())
		}
	}
	if b.scratch != "" {
		errs = append(errs, os.RemoveAll(b.scratch))
	}
	return errors.Join(errs...)
}

// release is a built image.
type release struct {
	dir     string // absolute, for overlays refer to the image
	Channel string `json:"channel"`
	Version string `json:"version"`
}

func readRelease(dir string) (*release, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := &release{dir: dir}
	info, err := os.ReadFile(r.path("release.json"))
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(info, r)
}

func (r *release) path(name string) string { return filepath.Join(r.dir, name) }

// scope says on which channels a test runs if nobody names one: "ci".
type scope int

const (
	alphaOnly    scope = iota // the channels hold the same parts
	everyChannel              // the heart of the promise
	onRequest                 // too long for every change: -channel all, or one by name
)

// channels are those asked for on the command line.
func channels(t *testing.T, s scope) []string {
	if *releaseFlag != "" {
		r, err := readRelease(*releaseFlag)
		require.NoError(t, err)
		return []string{r.Channel}
	}
	switch {
	case *channelFlag == "all", *channelFlag == "ci" && s == everyChannel:
		return []string{"alpha", "beta", "stable"}
	case *channelFlag == "ci" && s == onRequest:
		return nil
	case *channelFlag == "ci":
		return []string{"alpha"}
	}
	return []string{*channelFlag}
}

// eachChannel runs the test for every channel asked for, in parallel.
func eachChannel(t *testing.T, s scope, test func(t *testing.T, l *lab)) {
	if testing.Short() {
		t.Skip("boots machines; -short leaves that out")
	}
	t.Parallel()
	for _, channel := range channels(t, s) {
		t.Run(channel, func(t *testing.T) {
			t.Parallel()
			test(t, shared.lab(t, channel))
		})
	}
}

// lab builds the image of a channel, once.
func (b *bench) lab(t testing.TB, channel string) *lab {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tools == nil {
		b.cache, b.tools = toolstest.CacheDir(t), toolstest.Tree(t, "run")
	}
	if b.scratch == "" {
		var err error
		b.scratch, err = os.MkdirTemp("", "slipway-qemu-tests-")
		require.NoError(t, err)
	}
	if b.labs[channel] == nil {
		dir := *releaseFlag
		if dir == "" {
			dir = b.build(t, channel)
		}
		r, err := readRelease(dir)
		require.NoError(t, err)
		b.labs[channel] = &lab{bench: b, release: r}
	}
	if b.accel == "" {
		b.accel = b.chooseAccel(t, b.labs[channel].release)
	}
	return b.labs[channel]
}

// build runs "slipway build", which does nothing if nothing changed, and
// returns the release directory. It is not the user's own: that one may be
// signed with another key.
func (b *bench) build(t testing.TB, channel string, args ...string) string {
	var stdout, stderr bytes.Buffer
	out, err := filepath.Abs("../out/qemu-tests")
	require.NoError(t, err)
	args = append([]string{"run", "./cmd/slipway", "build", "--channel", channel, "--out", out, "--payload", "none"}, args...)
	if *signFlag != "" {
		args = append(args, strings.Split(*signFlag, "\n")...)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "..", &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("slipway build --channel %s: %v\n%s", channel, err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return lines[len(lines)-1]
}

// chooseAccel proves KVM with the image's own kernel.
func (b *bench) chooseAccel(t testing.TB, r *release) vm.Accel {
	wish, err := vm.ParseAccel(*accelFlag)
	require.NoError(t, err)
	file, err := os.Open(r.path("boot.efi"))
	require.NoError(t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(t, err)
	image, err := uki.Read(file, info.Size())
	require.NoError(t, err)
	linux, err := image.Section(".linux")
	require.NoError(t, err)
	kernel, err := os.Create(filepath.Join(t.TempDir(), "vmlinuz"))
	require.NoError(t, err)
	defer kernel.Close()
	_, err = io.Copy(kernel, linux.Open())
	require.NoError(t, err)

	probe := &vm.Probe{Tools: b.tools, Kernel: kernel.Name(), Cache: filepath.Join(b.cache, "qemu-tests")}
	accel, why, err := probe.Choose(t.Context(), wish)
	require.NoError(t, err)
	t.Logf("machines run with %s: %s", accel, why)
	return accel
}

// repeat is the command that runs a test again.
func repeat(t testing.TB, r *release) string {
	pattern := strings.ReplaceAll(t.Name(), "/", "$/^")
	return fmt.Sprintf("go test -v ./qemu-tests -run '^%s$' -args -channel %s -accel %s",
		pattern, r.Channel, *accelFlag)
}
