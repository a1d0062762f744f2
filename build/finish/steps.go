package finish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"slipway/build/tree"
	"slipway/overlays"
)

// here is a name of the directory that a tool runs in which is the same on
// every machine: some tools write the name they were given into what they
// make (systemd-hwdb does).
const here = "/proc/self/cwd"

// step is one run of an offline tool: some files of the tree go in, some come
// out. The tool sees them below a directory of its own and nothing else of the
// tree.
type step struct {
	name string
	// inputs and outputs are globs (overlays.CompileGlob). An output that was
	// an input and did not change is not taken.
	inputs, outputs []string
	// program is looked up by the Runner.
	program string
	// args are the program's, with here for the directory.
	args []string
	// only leaves the step out if the tree has no path that the glob matches.
	only string
}

// runTools runs the steps that the tree calls for, at most Workers at once,
// and then puts what they made into the tree: as if they had run one after
// the other, for none reads what another makes.
func (r *run) runTools(ctx context.Context) error {
	var steps []step
	for _, s := range r.steps() {
		used, err := r.uses(s)
		if err != nil {
			return err
		}
		if used {
			steps = append(steps, s)
		}
	}
	results := make([]*tree.Tree, len(steps))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, r.Workers))
	var logging sync.Mutex
	for i, s := range steps {
		group.Go(func() error {
			logf := func(format string, args ...any) {
				if r.Log != nil {
					logging.Lock()
					defer logging.Unlock()
					r.Log(fmt.Sprintf(format, args...))
				}
			}
			result, err := r.runStep(ctx, s, logf)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			results[i] = result
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var problems []error
	for i, result := range results {
		for p, n := range result.All() {
			if p == "." || n.Type == tree.Dir {
				continue
			}
			n.Origin = "finish " + steps[i].name
			if err := r.Tree.Set(p, n); err != nil {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(append(problems, r.afterTools())...)
}

func (r *run) uses(s step) (bool, error) {
	only, err := overlays.CompileGlob(s.only)
	if err != nil {
		return false, fmt.Errorf("internal error: %w", err)
	}
	for p := range r.Tree.All() {
		if only.MatchString(p) {
			return true, nil
		}
	}
	return false, nil
}

// runStep gives a step's outputs, from the cache if it holds them.
func (r *run) runStep(
	ctx context.Context, s step, logf func(string, ...any),
) (*tree.Tree, error) {
	inputs, err := r.selectInputs(s)
	if err != nil {
		return nil, err
	}
	key := s.key(r.ToolsDigest, inputs)
	cache := stepCache{dir: r.CacheDir}
	if result, err := cache.load(key); err != nil || result != nil {
		return result, err
	}
	if r.Runner == nil {
		return nil, errors.New("internal error: no runner for tools")
	}
	logf("running %s for %s", s.program, s.name)
	root, err := os.MkdirTemp(r.TempDir, "slipway-step-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	if err := materialise(inputs, root); err != nil {
		return nil, err
	}
	if err := r.execute(ctx, s, root); err != nil {
		return nil, err
	}
	result, err := collect(s, inputs, root)
	if err != nil {
		return nil, err
	}
	return result, cache.store(key, result)
}

// selectInputs gives the part of the tree that the step may see.
func (r *run) selectInputs(s step) (*tree.Tree, error) {
	var globs []overlays.Glob
	for _, g := range s.inputs {
		globs = append(globs, overlays.Glob{Pattern: g, Layer: "step " + s.name})
	}
	expressions, err := compile(globs)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	inputs := tree.New()
	for p, n := range r.Tree.All() {
		if n.Type > tree.Symlink || !matches(expressions, p) {
			continue
		}
		if err := inputs.Set(p, n); err != nil {
			return nil, err
		}
	}
	return inputs, nil
}

// key names the result of a step: the same definition, tools and inputs give
// the same result.
func (s step) key(tools string, inputs *tree.Tree) string {
	h := sha256.New()
	fmt.Fprintf(h, "step 2 %q %q %q %q %q %q\n",
		s.name, s.inputs, s.outputs, s.program, s.args, tools)
	for p, n := range inputs.All() {
		var sum [sha256.Size]byte
		if n.Type == tree.File {
			sum = n.Blob.SHA256()
		}
		fmt.Fprintf(h, "%q %d %q %x\n", p, n.Type, n.Target, sum)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// materialise writes a tree of directories, files and links below root, with
// modes that do not depend on the umask.
func materialise(t *tree.Tree, root string) error {
	for p, n := range t.All() {
		if p == "." {
			continue
		}
		target := filepath.Join(root, filepath.FromSlash(p))
		var err error
		switch n.Type {
		case tree.Dir:
			err = os.Mkdir(target, 0o755)
		case tree.Symlink:
			err = os.Symlink(n.Target, target)
		case tree.File:
			err = writeBlob(n.Blob, target)
		}
		if err == nil && n.Type != tree.Symlink {
			err = os.Chmod(target, 0o755)
		}
		if err != nil {
			return fmt.Errorf("lay out /%s: %w", p, err)
		}
	}
	return nil
}

func writeBlob(b tree.Blob, name string) (err error) {
	in, err := b.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// execute runs the step's program. What it prints is in the error, if it ends
// with one.
func (r *run) execute(ctx context.Context, s step, root string) error {
	cmd := r.Runner.Command(ctx, s.program, s.args...)
	if cmd.Env == nil {
		cmd.Env = []string{"LC_ALL=C"}
	}
	cmd.Env = append(cmd.Env, "TZ=UTC", "SYSTEMD_OFFLINE=1", "SYSTEMD_LOG_LEVEL=warning",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.Time.Unix()))
	cmd.Dir = root
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		said := strings.TrimSpace(strings.ReplaceAll(output.String(), here, ""))
		if len(said) > 2000 {
			said = "..." + said[len(said)-2000:]
		}
		return fmt.Errorf("run %s: %w: %s", s.program, err, said)
	}
	return nil
}

// collect reads the step's outputs back: all root's, files 0644, whatever user
// and umask the tool ran with.
func collect(s step, inputs *tree.Tree, root string) (*tree.Tree, error) {
	var globs []overlays.Glob
	for _, g := range s.outputs {
		globs = append(globs, overlays.Glob{Pattern: g, Layer: "step " + s.name})
	}
	expressions, err := compile(globs)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	outputs := tree.New()
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		p := path.Clean(filepath.ToSlash(rel))
		if entry.IsDir() || !matches(expressions, p) {
			return nil
		}
		n := &tree.Node{Mode: 0o644}
		switch {
		case entry.Type().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			n.Type, n.Blob = tree.File, tree.Bytes(data)
		case entry.Type() == fs.ModeSymlink:
			n.Type, n.Mode = tree.Symlink, 0o777
			if n.Target, err = os.Readlink(name); err != nil {
				return err
			}
		default:
			return fmt.Errorf("output /%s: %s, neither file nor link", p, entry.Type())
		}
		if same(n, inputs.Lookup(p)) {
			return nil
		}
		return outputs.Set(p, n)
	})
	return outputs, err
}

func same(a, b *tree.Node) bool {
	if b == nil || a.Type != b.Type || a.Target != b.Target {
		return false
	}
	return a.Type != tree.File || a.Blob.SHA256() == b.Blob.SHA256()
}
