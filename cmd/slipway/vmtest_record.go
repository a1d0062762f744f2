package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/goprogram"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/cmd/internal/testlog"
	"slipway/signing"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

// testRelease tests a release, or takes the results of those who did, and adds
// them to its evidence.
func testRelease(c *cli.Context, dir string) (err error) {
	info, err := release.Read(dir)
	if err != nil {
		return hint.Add(err, "slipway build makes a release and prints its directory")
	}
	w, err := keysOnly()
	if err != nil {
		return err
	}
	rep := newReport(c)
	defer rep.Close()
	r := &recorder{dir: dir, info: info, by: c.String("by"), rep: rep}
	if r.keys, err = openSigners(c.Context, w, readSignOptions(c), rep); err != nil {
		return err
	}
	if err := r.keys.suit(info.Development, dir); err != nil {
		return err
	}
	if r.accept, err = readAccepted(c); err != nil {
		return err
	}
	r.slipway = sourcesOf()
	if file := c.String("record"); file != "" {
		return r.recordFile(c.Context, file)
	}
	if err := r.check(c.Context); err != nil {
		return err // before hours go into it
	}
	return r.test(c)
}

// recorder adds results to the evidence of a release.
type recorder struct {
	dir     string
	info    *release.Info
	by      string
	slipway string // what records
	keys    *signers
	accept  *accepted // whose evidence is taken over, beside that of keys
	rep     *report.Report
}

// sourcesOf says which slipway this is: the revision it was built from, or the
// digest of the sources it runs from.
func sourcesOf() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "revision " + s.Value
			}
		}
	}
	root, err := findRoot()
	if err != nil {
		return "unknown"
	}
	sum, err := goprogram.Sources(root)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("sources %x", sum)
}

// check compares every file with release.json: what is recorded is said of
// these bytes.
func (r *recorder) check(ctx context.Context) error {
	for _, e := range r.info.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.Check(r.dir, runtime.NumCPU()); err != nil {
			return hint.Add(err, "nothing is said of a damaged release: build or fetch it again")
		}
	}
	return nil
}

// test runs the tests and records what they say, be it good or bad.
func (r *recorder) test(c *cli.Context) error {
	absolute, err := filepath.Abs(r.dir)
	if err != nil {
		return err
	}
	// The results are kept until they are recorded: they took hours.
	kept, err := os.CreateTemp(filepath.Dir(absolute), ".results-"+r.info.Version+"-")
	if err != nil {
		return err
	}
	defer kept.Close()
	in, out := io.Pipe()
	ran := make(chan error, 1)
	go func() {
		err := runTests(c, append([]string{"-release=" + absolute}, signAs(c)...), out, true)
		ran <- err
		out.Close()
	}()
	var results *testlog.Results
	if c.Bool("json") {
		results, err = testlog.Read(io.TeeReader(in, io.MultiWriter(kept, c.App.Writer)), r.info.Channel, nil)
	} else {
		results, err = testlog.Read(io.TeeReader(in, kept), r.info.Channel, c.App.Writer)
	}
	_, _ = io.Copy(io.Discard, in) // whatever is wrong, the tests come to their end
	failed := <-ran
	if ctxErr := c.Context.Err(); ctxErr != nil {
		return errors.Join(ctxErr, os.Remove(kept.Name()))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("test: %s: %w", r.dir, err), failed, os.Remove(kept.Name()))
	}
	if err := r.record(c.Context, results); err != nil {
		r.rep.Warn("the results are in %s: slipway test %s --record FILE records them", kept.Name(), r.dir)
		return err
	}
	if failed != nil {
		failed = hint.Add(fmt.Errorf("test: %s: %w", r.dir, failed), "slipway test %s --run NAME repeats one case", r.dir)
	}
	return errors.Join(failed, os.Remove(kept.Name()))
}

// signAs has the tests sign what they build as this command signs. They run in
// another directory.
func signAs(c *cli.Context) []string {
	var flags []string
	add := func(name, value string) {
		if _, err := os.Stat(value); err == nil {
			if absolute, err := filepath.Abs(value); err == nil {
				value = absolute
			}
		}
		flags = append(flags, "--"+name+"="+value)
	}
	for _, ref := range c.StringSlice("key") {
		add("key", ref)
	}
	for _, name := range []string{"keys", "key-password-file"} {
		if c.IsSet(name) {
			add(name, c.String(name))
		}
	}
	if len(flags) == 0 {
		return nil
	}
	return []string{"-sign=" + strings.Join(flags, "\n")}
}

// recordFile takes results from a file.
func (r *recorder) recordFile(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	results, err := testlog.Read(f, r.info.Channel, nil)
	if err != nil {
		return hint.Add(fmt.Errorf("%s: %w", name, err),
			`a line is like {"Action": "pass", "Test": "NAME"}; go test -json writes such`)
	}
	if err := r.check(ctx); err != nil {
		return err
	}
	return r.record(ctx, results)
}

// record adds results to the evidence and signs it.
func (r *recorder) record(ctx context.Context, results *testlog.Results) (err error) {
	defer func() { err = r.keys.explain(err) }()
	before, err := r.before()
	if err != nil {
		return err
	}
	run := release.Run{
		By: r.by, Slipway: r.slipway, Channel: r.info.Channel, Files: r.info.Digests(), Cases: results.Cases,
	}
	if !results.End.IsZero() {
		run.Date = results.End.UTC().Format(time.RFC3339)
	}
	d, err := release.NewEvidence(before.Add(r.info, run))
	if err != nil {
		return hint.Add(err, "remove %s to begin anew", filepath.Join(r.dir, release.EvidenceFile))
	}
	ctx = signing.About(ctx, fmt.Sprintf("%s of %s %s", release.EvidenceFile, r.info.Name, r.info.Version))
	if err := d.Sign(ctx, releaseSigners(r.keys.payload)...); err != nil {
		return err
	}
	if err := release.WriteEvidence(r.dir, d); err != nil {
		return err
	}
	count := map[release.Result]int{}
	for _, c := range results.Cases {
		count[c.Result]++
	}
	r.rep.Step("evidence").Done("%d passed, %d failed, %d skipped, signed by %s",
		count[release.Passed], count[release.Failed], count[release.Skipped], ids(r.keys.payload))
	r.rep.Result(map[string]any{
		"evidence": filepath.Join(r.dir, release.EvidenceFile), "passed": count[release.Passed],
		"failed": count[release.Failed], "skipped": count[release.Skipped],
	})
	return nil
}

// before is the evidence there is, if it can be vouched for.
func (r *recorder) before() (*release.Evidence, error) {
	d, err := release.ReadEvidence(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Verify(append(publicHalves(r.keys.payload), r.accept.as(keyset.Payload)...)); err != nil {
		return nil, hint.Add(fmt.Errorf("%s: %w", filepath.Join(r.dir, release.EvidenceFile), err),
			"--pub FILE names the key of whoever recorded it, if you vouch for that; else remove the file")
	}
	return d.Body, nil
}

// publicHalves are the public halves of signers.
func publicHalves(list []signing.Signer) []key.Key {
	var keys []key.Key
	for _, s := range list {
		if k, err := key.New(s.Public()); err == nil {
			keys = append(keys, k)
		}
	}
	return keys
}
