package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/build/disk"
	"slipway/build/finish"
	"slipway/build/lock"
	"slipway/build/tree"
	"slipway/build/unpack"
	"slipway/cmd/internal/goprogram"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/overlays"
	"slipway/signing/payload"
)

const buildHelp = `Builds the image of a channel and prints the release directory last.

Packages are resolved afresh from the signed archive unless --lock names a lock
file; the lock that was used is kept beside the image. The mirror is taken from
--mirror, $SLIPWAY_MIRROR or the host's apt sources.

The image is signed by every key that --key names, or by the keys of the key set
in --keys that are valid today, and carries their public halves. Without either
it is signed by a development key, made on first use, and says that it is a
development image. A build by other keys is a release build: development keys
are refused beside them, and so is an image that holds a private key, an ssh
host key, a machine id or a random seed. --release refuses all other builds.

For Secure Boot, --secureboot-key signs the UKI too; firmware that is to start it
needs that key's certificate in its variable db. See also slipway keys export.`

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:        "build",
		Usage:       "build the image of a channel",
		Description: buildHelp,
		Flags: append(append(signFlags(), secureBootFlags()...),
			channelFlag(),
			overlayFlag(),
			&cli.StringFlag{Name: "lock", Usage: "use exactly the packages of this lock `FILE`"},
			&cli.StringFlag{Name: "version", Usage: "call the image `V` (MAJOR.MINOR.PATCH) instead of the lock's date"},
			&cli.StringFlag{Name: "out", Value: "out", Usage: "put releases below `DIR`"},
			mirrorFlag(),
			expiredFlag(),
			&cli.StringFlag{Name: "payload", Usage: "pack the update payload for `LEVEL` release (the default, minutes) or development (seconds), or none (the default of development images)"},
			&cli.BoolFlag{Name: "release", Usage: "refuse to make anything but a release build"},
			&cli.BoolFlag{Name: "strict", Usage: "treat a new or changed maintainer script as an error"},
			&cli.BoolFlag{Name: "force", Usage: "build even if nothing changed"},
			&cli.IntFlag{Name: "jobs", Value: runtime.NumCPU(), Usage: "use at most `N` processors"},
			jsonFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			if n := c.Int("jobs"); n < 1 {
				return hint.Add(hint.Usagef("build: --jobs %d: less than one", n), "--jobs %d", runtime.NumCPU())
			}
			if err := checkVersion(c.String("version")); err != nil {
				return err
			}
			rep := newReport(c)
			dir, err := build(c.Context, &buildOptions{
				channel: c.String("channel"), overlays: c.StringSlice("overlay"),
				lock: c.String("lock"), version: c.String("version"), out: c.String("out"), payload: c.String("payload"),
				mirror: c.String("mirror"), expired: c.Bool("allow-expired"), sign: readSignOptions(c),
				secureKeys: c.StringSlice("secureboot-key"), secureCerts: c.StringSlice("secureboot-cert"),
				strict: c.Bool("strict"), force: c.Bool("force"), jobs: min(c.Int("jobs"), runtime.NumCPU()), now: time.Now(),
			}, rep)
			rep.Close()
			if err != nil {
				return err
			}
			rep.Result(map[string]string{"release": dir})
			if !c.Bool("json") {
				fmt.Fprintln(c.App.Writer, dir)
			}
			return nil
		},
	}
}

func channelFlag() cli.Flag {
	return &cli.StringFlag{Name: "channel", Value: "alpha", Usage: "`CHANNEL` to work on: alpha, beta, stable"}
}

func overlayFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "overlay", Usage: "add the layer in `DIR` after the channel's; may be repeated"}
}

func mirrorFlag() cli.Flag {
	return &cli.StringFlag{Name: "mirror", Usage: "fetch packages from `URL`, or debian=URL,debian-security=URL"}
}

func expiredFlag() cli.Flag {
	return &cli.BoolFlag{Name: "allow-expired", Usage: "accept an archive whose signature's time is over, for mirrors of the past"}
}

// buildOptions is what the command line says about a build.
type buildOptions struct {
	channel, lock, version, out, mirror string
	payload                             string // level to pack it with; "" follows from the keys
	overlays                            []string
	sign                                *signOptions
	secureKeys, secureCerts             []string // for Secure Boot
	expired, strict, force              bool
	jobs                                int
	now                                 time.Time // to judge signatures by; nothing built depends on it
}

// build makes a release and gives its directory. This is the whole pipeline,
// in order.
func build(ctx context.Context, o *buildOptions, rep *report.Report) (_ string, err error) {
	w, err := openWorkspace()
	if err != nil {
		return "", err
	}
	// What goes in: layers, packages, keys.
	config, err := loadConfig(w.root, o.channel, o.overlays)
	if err != nil {
		return "", err
	}
	keys, err := openSigners(ctx, w, o.sign, rep)
	if err != nil {
		return "", err
	}
	defer func() { err = keys.explain(err) }()
	secureBoot, err := openSecureBoot(ctx, keys, o.sign, o.secureKeys, o.secureCerts)
	if err != nil {
		return "", err
	}
	packages, err := openPackages(w, o.mirror, o.expired, o.jobs, rep)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, packages.Close()) }()
	var locked *lock.Lock
	if o.lock != "" {
		locked, err = readLock(o.lock, config)
	} else {
		locked, err = packages.resolve(ctx, config, o.now)
	}
	if err != nil {
		return "", err
	}
	version := chooseVersion(o.version, locked)
	if err := checkFloor(config.RollbackFloor, version); err != nil {
		return "", err
	}
	if err := checkPromoted(o, version, rep); err != nil {
		return "", err
	}
	level, err := payloadLevel(o.payload, keys.development)
	if err != nil {
		return "", err
	}
	inputs, err := digestInputs(w.root, config, locked, keys, secureBoot, o.channel, version, level)
	if err != nil {
		return "", err
	}
	if dir, ok := unchanged(o, version, inputs); ok {
		rep.Step("build").Done("%s %s: nothing changed", o.channel, version)
		return dir, nil
	}

	// Packages to a tree.
	if err := packages.fetch(ctx, locked); err != nil {
		return "", err
	}
	unpacked, err := packages.unpack(ctx, locked)
	if err != nil {
		return "", err
	}
	if err := checkScripts(config, unpacked, o.strict, rep); err != nil {
		return "", err
	}
	if err := compilePrograms(ctx, w, config, rep); err != nil {
		return "", err
	}
	merged := tree.New()
	if err := unpack.Merge(merged, unpacked...); err != nil {
		return "", err
	}
	tools, err := packages.tools(ctx, "build", config)
	if err != nil {
		return "", err
	}
	step := rep.LoggedStep("finish")
	finished, err := finish.Run(ctx, &finish.Options{
		Tree: merged, Config: config, Time: locked.Date, Version: version,
		Development: keys.development, Runner: tools, ToolsDigest: tools.Digest(),
		CacheDir: w.cache, Workers: o.jobs,
	})
	if err != nil {
		return "", err
	}
	if err := reportProblems(finished.Problems, o.strict, rep); err != nil {
		return "", err
	}
	if err := addHostPrograms(ctx, w, finished.Usr, locked.Date.Unix()); err != nil {
		return "", err
	}
	if err := checkLeaks(ctx, w, keys, finished.Usr, o.jobs, rep); err != nil {
		return "", err
	}
	step.Done("/usr is %d paths, %s", finished.Usr.Len(), megabytes(contentSize(finished.Usr)))

	// The tree to images.
	stage, err := release.NewStage(o.out, o.channel, version)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	step = rep.LoggedStep("boot")
	engine, err := goprogram.Build(ctx, w.root, "slipway/cmd/bootengine", w.cache)
	if err != nil {
		return "", err
	}
	boot, err := writeBoot(ctx, filepath.Join(stage.Dir, release.UKI), &bootOptions{
		usr: finished.Usr, kernel: finished.Kernel, release: finished.KernelVersion,
		config: config, engine: engine,
		stub: tools.Path("usr/lib/systemd/boot/efi/linuxx64.efi.stub"),
		keys: keys.trusted(locked.Date), time: locked.Date.Unix(), osRelease: finished.OSRelease,
		name: config.OSRelease["ID"], version: version, secureBoot: secureBoot,
	})
	if err != nil {
		return "", err
	}
	step.Done("kernel %s, %s", finished.KernelVersion, megabytes(boot.uki.Size()))

	step = rep.LoggedStep("slot")
	layout := diskLayout(version)
	usrA, _ := layout.Partition("USR-A")
	text, err := lockText(locked)
	if err != nil {
		return "", err
	}
	slotFile := filepath.Join(stage.Dir, release.Slot)
	foot, err := writeSlot(ctx, slotFile, &slotOptions{
		usr: finished.Usr, boot: boot, name: config.OSRelease["ID"], version: version, floor: config.RollbackFloor,
		arch: locked.Architecture, size: usrA.Size * int64(layout.SectorSize),
		time: locked.Date.Unix(), workers: o.jobs, keys: keys, lockText: text,
	})
	if err != nil {
		return "", err
	}
	step.Done("file system %s, root hash %.16s", megabytes(foot.FSSize), foot.RootHash)

	step = rep.LoggedStep("disk")
	grub, err := disk.LoadGRUB(ctx, tools, layout)
	if err != nil {
		return "", err
	}
	err = writeDisk(ctx, filepath.Join(stage.Dir, release.Disk), &diskOptions{
		layout: layout, slot: slotFile, uki: boot.uki, grub: grub, version: version,
		channel: o.channel, time: locked.Date.Unix(), scratch: stage.Dir,
	})
	if err != nil {
		return "", err
	}
	step.Done("%d partitions, %s", len(layout.Partitions), megabytes(layout.DiskSize()))

	err = writePayload(ctx, packages, config, level, &payloadOptions{
		signers: keys.payload, workers: o.jobs, rep: rep,
	}, slotFile)
	if err != nil {
		return "", err
	}

	// What came out, in one piece.
	return publish(ctx, stage, &publishOptions{
		info: &release.Info{
			Format: 1, Name: foot.Name, Version: version, Channel: o.channel,
			Architecture: locked.Architecture, Date: locked.Date.Format(time.RFC3339),
			Development: keys.development, KeyID: keys.image[0].KeyID(), RootHash: foot.RootHash,
			Inputs: inputs,
		},
		root: w.root, lockText: text, rep: rep, workers: o.jobs, keys: keys,
	})
}

// loadConfig reads and merges a channel's layers and the user's own.
func loadConfig(root, channel string, dirs []string) (*overlays.Config, error) {
	known := os.DirFS(filepath.Join(root, "overlays"))
	c, err := overlays.LoadChannel(known, channel)
	if err != nil {
		return nil, err
	}
	layers, err := overlays.LoadLayers(known, c)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		l, err := loadOverlay(dir)
		if err != nil {
			return nil, err
		}
		for _, other := range layers {
			if other.Name == l.Name {
				return nil, hint.Add(fmt.Errorf("overlay %q: the image has a layer %q already", dir, l.Name),
					"give the directory another name")
			}
		}
		layers = append(layers, l)
	}
	return overlays.Merge(c, layers...)
}

// loadOverlay reads a layer of the user's. It is called by the name of its
// directory.
func loadOverlay(dir string) (*overlays.Layer, error) {
	path, err := filepath.Abs(dir) // "." has a name too
	if err != nil {
		return nil, err
	}
	const file = "overlay.yaml"
	if _, err := os.Stat(filepath.Join(path, file)); err != nil {
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathError.Err
		}
		return nil, hint.Add(fmt.Errorf("overlay %q: %s: %w", dir, file, err),
			"an overlay is a directory with an overlay.yaml; see overlays/base")
	}
	return overlays.Load(os.DirFS(path), filepath.Base(path))
}

// checkVersion refuses what is not MAJOR.MINOR.PATCH; "" is the version of the
// lock's date.
func checkVersion(asked string) error {
	if asked == "" {
		return nil
	}
	var major, minor, patch uint32
	n, err := fmt.Sscanf(asked, "%d.%d.%d", &major, &minor, &patch)
	if err != nil || n != 3 || fmt.Sprintf("%d.%d.%d", major, minor, patch) != asked {
		return hint.Add(hint.Usagef("build: --version %q: not MAJOR.MINOR.PATCH", asked), "--version 4900.0.1")
	}
	return nil
}

// chooseVersion takes the user's version or the one of the lock's date.
func chooseVersion(asked string, l *lock.Lock) string {
	if asked == "" {
		return lock.Version(l.Date, 0, 0)
	}
	return asked
}

// checkFloor refuses an image that no machine could ever install again.
func checkFloor(floor, version string) error {
	order, err := payload.CompareVersions(floor, version)
	if err != nil || order <= 0 {
		return err
	}
	return hint.Add(fmt.Errorf("build: version %s is below its own rollback-floor %s", version, floor),
		"--version %s, or a lower rollback-floor in overlay.yaml", floor)
}

// checkScripts says which maintainer scripts nobody has read yet.
func checkScripts(config *overlays.Config, packages []*unpack.Package, strict bool, rep *report.Report) error {
	var scripts []finish.PackageScripts
	for _, p := range packages {
		scripts = append(scripts, finish.PackageScripts{Package: p.Name, Scripts: p.Scripts})
	}
	changes := finish.CheckScripts(config, scripts)
	if len(changes) > 0 && strict {
		var all []string
		for _, c := range changes {
			all = append(all, c.String())
		}
		return hint.Add(fmt.Errorf("maintainer scripts nobody has read: %s", strings.Join(all, "; ")),
			"read them, then state in the overlay's scripts.yaml who does their work")
	}
	for _, c := range changes {
		rep.Warn("%s", c)
	}
	return nil
}

// reportProblems says what the programs of the finished /usr lack.
func reportProblems(problems []string, strict bool, rep *report.Report) error {
	if len(problems) > 0 && strict {
		return hint.Add(fmt.Errorf("finish: %s", strings.Join(problems, "; ")),
			"mend the overlays, or build without --strict")
	}
	for _, p := range problems {
		rep.Warn("%s", p)
	}
	return nil
}

func contentSize(t *tree.Tree) int64 {
	var sum int64
	seen := map[*tree.Node]bool{}
	for _, n := range t.All() {
		if !seen[n] {
			seen[n] = true
			sum += n.Size()
		}
	}
	return sum
}
