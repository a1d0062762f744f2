package tools

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// loader is the program interpreter of the psABI for x86-64.
const loader = "usr/lib64/ld-linux-x86-64.so.2"

// Command prepares a program of the tree, named as on the command line
// ("depmod") or by its path in the tree ("usr/lib/systemd/systemd-sysusers").
// It sees of the environment only TMPDIR; LC_ALL is C, PATH leads to
// the programs of the tree, and variables tell libraries where in the tree
// their data is. If there is no such program, Run and Start say so.
func (t *Tree) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	argv, err := t.argv(program)
	if err != nil {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Err = fmt.Errorf("tools %q: %w", t.manifest.Group, err)
		return cmd
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], args...)...)
	cmd.Env = t.environment()
	return cmd
}

// programDirs is where programs are looked for.
func programDirs() []string {
	return []string{"usr/bin", "usr/sbin", "usr/lib/systemd"}
}

// find gives the path of a program in the tree.
func (t *Tree) find(program string) (string, error) {
	if strings.Contains(program, "/") {
		rel := strings.TrimLeft(program, "/")
		ok, err := exists(t.Path(rel))
		if err == nil && !ok {
			err = fmt.Errorf("no program %q", program)
		}
		return rel, err
	}
	for _, dir := range programDirs() {
		rel := path.Join(dir, program)
		if ok, err := exists(t.Path(rel)); ok || err != nil {
			return rel, err
		}
	}
	return "", fmt.Errorf("no program %q", program)
}

// argv gives what to execute for a program: itself if it is static, the
// tree's loader if it is dynamic, the tree's interpreter if it is a script.
func (t *Tree) argv(program string) ([]string, error) {
	rel, err := t.find(program)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(t.Path(rel))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	head := make([]byte, 4)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch head = head[:n]; {
	case strings.HasPrefix(string(head), "#!"):
		return t.scriptArgv(rel, io.NewSectionReader(file, 2, 4096))
	case string(head) != elf.ELFMAG:
		return nil, fmt.Errorf("%q is not a program: begins with %q", program, head)
	}
	dynamic, err := isDynamic(file)
	if err != nil {
		return nil, fmt.Errorf("%q is not a program: %w", program, err)
	}
	if !dynamic {
		return []string{t.Path(rel)}, nil
	}
	return append(t.loaderArgv(rel), t.Path(rel)), nil
}

// loaderArgv starts a dynamic program; see ld.so(8). The host's library cache
// is not asked.
func (t *Tree) loaderArgv(rel string) []string {
	dirs := make([]string, len(t.manifest.Libraries))
	for i, dir := range t.manifest.Libraries {
		dirs[i] = t.Path(dir)
	}
	return []string{
		t.Path(loader), "--inhibit-cache", "--library-path", strings.Join(dirs, ":"),
		"--argv0", t.Path(rel),
	}
}

// scriptArgv reads the line after "#!": an interpreter and at most one
// argument.
func (t *Tree) scriptArgv(rel string, rest io.Reader) ([]string, error) {
	line, err := bufio.NewReader(rest).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%q has no interpreter: %w", rel, err)
	}
	interpreter, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
	argument = strings.TrimSpace(argument)
	if path.Base(interpreter) == "env" && argument != "" {
		interpreter, argument = argument, ""
	}
	name := path.Base(interpreter)
	if filepath.IsAbs(interpreter) && name == path.Base(rel) {
		return nil, fmt.Errorf("%q is its own interpreter", rel)
	}
	argv, err := t.interpreterArgv(name)
	if err != nil {
		return nil, fmt.Errorf("interpreter of %q: %w", rel, err)
	}
	if argument != "" {
		argv = append(argv, argument)
	}
	return append(argv, t.Path(rel)), nil
}

// interpreterArgv is argv for a program that may not be a script itself.
func (t *Tree) interpreterArgv(name string) ([]string, error) {
	rel, err := t.find(name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(t.Path(rel))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	dynamic, err := isDynamic(file)
	if err != nil {
		return nil, err
	}
	if !dynamic {
		return []string{t.Path(rel)}, nil
	}
	return append(t.loaderArgv(rel), t.Path(rel)), nil
}

// isDynamic says whether an ELF program asks for a loader.
func isDynamic(file io.ReaderAt) (bool, error) {
	f, err := elf.NewFile(file)
	if err != nil {
		return false, err
	}
	if f.Machine != elf.EM_X86_64 {
		return false, errors.New("not for x86-64")
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}

// environment leads libraries to their data in the tree.
func (t *Tree) environment() []string {
	env := []string{"LC_ALL=C", "HOME=/", "PATH=" + t.wrappers()}
	if dir := os.Getenv("TMPDIR"); dir != "" {
		env = append(env, "TMPDIR="+dir)
	}
	for _, v := range []struct{ name, path string }{
		{"GCONV_PATH", libDir + "/gconv"},
		{"MKE2FS_CONFIG", "etc/mke2fs.conf"},
		{"OPENSSL_CONF", "etc/ssl/openssl.cnf"},
		{"OPENSSL_ENGINES", libDir + "/engines-3"},
		{"OPENSSL_MODULES", libDir + "/ossl-modules"},
		{"QEMU_MODULE_DIR", libDir + "/qemu"},
	} {
		if ok, _ := exists(t.Path(v.path)); ok {
			env = append(env, v.name+"="+t.Path(v.path))
		}
	}
	return env
}
