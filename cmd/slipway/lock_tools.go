package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/build/tools"
	"slipway/build/tools/provision"
)

// lockTools resolves the foreign programs that builds and tests run, and pins
// them in the checkout.
func lockTools(c *cli.Context) error {
	w, err := openWorkspace()
	if err != nil {
		return err
	}
	config, err := loadConfig(w.root, c.String("channel"), nil)
	if err != nil {
		return err
	}
	keys, err := archiveKeys(config)
	if err != nil {
		return err
	}
	rep := newReport(c)
	defer rep.Close()
	files := []string{}
	for _, group := range tools.Groups() {
		step := rep.Step(group.Name)
		l, err := provision.Lock(c.Context, group.Name, &provision.Options{
			CacheDir: w.cache, Mirror: c.String("mirror"), Workers: runtime.NumCPU(), Keys: keys, Now: time.Now(),
		})
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := l.Write(&text); err != nil {
			return err
		}
		name := filepath.Join(w.root, "build", "tools", tools.LockName(group.Name))
		if err := writeAside(name, text.Bytes()); err != nil {
			return err
		}
		step.Done("%d packages", len(l.Packages))
		files = append(files, name)
	}
	rep.Close()
	rep.Result(map[string]any{"locks": files})
	if !c.Bool("json") {
		for _, name := range files {
			fmt.Fprintln(c.App.Writer, name)
		}
	}
	return nil
}
