package bootengine

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules of the list in its order. One that is loaded
// already, or whose hardware is not there, is nothing to talk about; any other
// failure is said and the boot goes on: what is missing shows soon enough.
func (e *engine) loadModules() {
	for _, path := range e.config.modules {
		err := loadModule(path)
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			e.say("kernel module %s: %v", path, err)
		}
	}
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
