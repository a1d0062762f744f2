package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/term"

	"slipway/signing"
)

// passwords is where the passwords of encrypted keys come from: a file, the
// environment, or somebody at the terminal.
type passwords struct {
	file   string // one a line, "" if there is none
	lookup func(string) (string, bool)
	prompt func(text string) ([]byte, error) // nil off a terminal
}

func newPasswords(file string) *passwords {
	p := &passwords{file: file, lookup: os.LookupEnv}
	if stdin := int(os.Stdin.Fd()); term.IsTerminal(stdin) && term.IsTerminal(int(os.Stderr.Fd())) {
		p.prompt = func(text string) ([]byte, error) { return readPassword(stdin, text) }
	}
	return p
}

// readPassword asks at the terminal. Ctrl-C ends it, and the terminal shows
// again what is typed.
func readPassword(stdin int, text string) ([]byte, error) {
	state, err := term.GetState(stdin)
	if err != nil {
		return nil, err
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	defer signal.Stop(interrupt)
	fmt.Fprint(os.Stderr, text)
	defer fmt.Fprintln(os.Stderr)
	type answer struct {
		password []byte
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		password, err := term.ReadPassword(stdin)
		answers <- answer{password, err}
	}()
	select {
	case a := <-answers:
		return a.password, a.err
	case <-interrupt: // the reader is left behind; the program ends
		return nil, errors.Join(errors.New("interrupted"), term.Restore(stdin, state))
	}
}

// candidates gives the passwords to try on the key of a reference.
func (p *passwords) candidates(ref string) ([][]byte, error) {
	list, err := p.given()
	if err != nil || len(list) > 0 {
		return list, err
	}
	if p.prompt == nil {
		return nil, signing.ErrNoPassword
	}
	password, err := p.prompt(fmt.Sprintf("Password of %s: ", ref))
	return [][]byte{password}, err
}

// given are the passwords nobody needs to be asked for.
func (p *passwords) given() ([][]byte, error) {
	if p.file == "" {
		if password, ok := p.lookup("SLIPWAY_KEY_PASSWORD"); ok {
			return [][]byte{[]byte(password)}, nil
		}
		return nil, nil
	}
	text, err := os.ReadFile(p.file)
	if err != nil {
		return nil, err
	}
	if len(text) > 64<<10 {
		return nil, fmt.Errorf("%s: more than 64 KiB of passwords", p.file)
	}
	var list [][]byte
	for line := range bytes.Lines(text) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			list = append(list, line)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no password in it", p.file)
	}
	return list, nil
}

// choose gives the password for new keys: the first of those given, or what
// somebody types twice.
func (p *passwords) choose() ([]byte, error) {
	list, err := p.given()
	if err != nil {
		return nil, err
	}
	if len(list) > 0 && len(list[0]) > 0 {
		return list[0], nil
	}
	if p.prompt == nil || len(list) > 0 {
		return nil, errors.New("no password to encrypt private keys with")
	}
	first, err := p.prompt("Password for the new keys: ")
	if err != nil {
		return nil, err
	}
	second, err := p.prompt("Again: ")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 || !bytes.Equal(first, second) {
		return nil, errors.New("the passwords are empty or differ")
	}
	return first, nil
}
