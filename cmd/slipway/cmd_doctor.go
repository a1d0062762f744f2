package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"slipway/build/archive"
	"slipway/cmd/internal/goprogram"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "say what a build would miss on this machine and what fixes it",
		Flags: []cli.Flag{mirrorFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			findings := diagnose(c.Context, c.String("mirror"))
			if c.Bool("json") {
				if err := printJSON(c.App.Writer, findings); err != nil {
					return err
				}
			}
			bad := 0
			for _, f := range findings {
				if !f.OK {
					bad++
				}
				if !c.Bool("json") {
					fmt.Fprintln(c.App.Writer, f)
				}
			}
			if bad > 0 {
				return fmt.Errorf("doctor: %d things are missing", bad)
			}
			return nil
		},
	}
}

// finding is one thing that was looked at.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Fact string `json:"fact"`
	Fix  string `json:"fix,omitempty"` // the command that helps
}

func (f finding) String() string {
	state := "ok      "
	if !f.OK {
		state = "missing "
	}
	s := fmt.Sprintf("%s%-12s %s", state, f.What, f.Fact)
	if f.Fix != "" {
		s += "\n        fix: " + f.Fix
	}
	return s
}

// Room a build needs, in bytes: packages, their content and the tools in the
// cache; images of one release.
const (
	cacheRoom = 3 << 30
	outRoom   = 2 << 30
)

func diagnose(ctx context.Context, mirror string) []finding {
	list := []finding{checkMachine()}
	w, err := openWorkspace()
	if err != nil {
		return append(list, finding{What: "checkout", Fact: err.Error(), Fix: "cd to the checkout of slipway"})
	}
	list = append(list, finding{What: "checkout", OK: true, Fact: w.root}, checkGo(ctx, w.root),
		checkRoom("cache", w.cache, cacheRoom, "export SLIPWAY_CACHE=DIR, on a disk with room"),
		checkRoom("releases", filepath.Join(w.root, "out"), outRoom, "slipway build --out DIR, on a disk with room"),
		checkRoom("keys", w.keys, 1<<12, "export SLIPWAY_KEYS=DIR"))
	list = append(list, checkMirrors(ctx, w.root, mirror)...)
	return append(list, checkKVM())
}

func checkMachine() finding {
	f := finding{What: "machine", OK: runtime.GOOS == "linux" && runtime.GOARCH == "amd64"}
	f.Fact = fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if !f.OK {
		f.Fix = "use a Linux machine with an x86-64 processor: the tools tree holds its programs"
	}
	return f
}

func checkGo(ctx context.Context, root string) finding {
	f := finding{What: "go"}
	toolchain, err := goprogram.Toolchain(root)
	if err != nil {
		f.Fact = err.Error()
		return f
	}
	cmd := exec.CommandContext(ctx, "go", "version")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain)
	out, err := cmd.Output()
	if err != nil {
		f.Fact = fmt.Sprintf("%s is not to be had: %v", toolchain, err)
		f.Fix = "install " + toolchain + ", or any newer Go with GOTOOLCHAIN=auto and a module proxy"
		return f
	}
	f.OK, f.Fact = true, strings.TrimSpace(string(out))
	return f
}

// checkRoom looks for room and the right to write where dir is or will be.
func checkRoom(what, dir string, need int64, fix string) finding {
	f := finding{What: what}
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	if err := unix.Access(at, unix.W_OK); err != nil {
		f.Fact, f.Fix = fmt.Sprintf("%s: %v", at, err), fix
		return f
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		f.Fact, f.Fix = fmt.Sprintf("%s: %v", at, err), fix
		return f
	}
	free := int64(st.Bavail) * st.Bsize
	f.OK = free >= need
	f.Fact = fmt.Sprintf("%s, %s free", dir, megabytes(free))
	if !f.OK {
		f.Fact += fmt.Sprintf(", %s needed", megabytes(need))
		f.Fix = fix
	}
	return f
}

// checkMirrors asks every mirror for the suites the channels name.
func checkMirrors(ctx context.Context, root, flag string) []finding {
	const fix = "export SLIPWAY_MIRROR=URL of a Debian mirror, or use --mirror"
	mirrors, err := archive.FindMirrors(&archive.MirrorOptions{
		Flag: flag, Env: os.Getenv("SLIPWAY_MIRROR"), Host: os.DirFS("/"),
	})
	if err != nil {
		return []finding{{What: "mirror", Fact: err.Error(), Fix: fix}}
	}
	config, err := loadConfig(root, "alpha", nil)
	if err != nil {
		return []finding{{What: "overlays", Fact: err.Error(), Fix: "mend the overlay"}}
	}
	list := []finding{{What: "overlays", OK: true, Fact: fmt.Sprintf("alpha: %s", strings.Join(config.Layers, ", "))}}
	for _, s := range config.Suites {
		f := finding{What: "mirror"}
		url := mirrors[s.Archive] + "/dists/" + s.Suite + "/InRelease"
		if err := probe(ctx, url); err != nil {
			f.Fact, f.Fix = fmt.Sprintf("%s: %v", url, err), fix
		} else {
			f.OK, f.Fact = true, s.Suite+" answers"
		}
		list = append(list, f)
	}
	return list
}

func probe(ctx context.Context, url string) error {
	if name, ok := strings.CutPrefix(url, "file://"); ok {
		_, err := os.Stat(name)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// checkKVM never fails: without KVM machines run under emulation.
func checkKVM() finding {
	f := finding{What: "kvm", OK: true, Fact: "/dev/kvm opens; a test run proves it before it relies on it"}
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		f.Fact = fmt.Sprintf("not usable (%v): machines run under emulation, slower", err)
		return f
	}
	unix.Close(fd)
	return f
}
