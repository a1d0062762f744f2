package uki

import (
	"fmt"
	"strings"
)

// grubScript is the content of section .grub, GRUBSize bytes of commands that
// load this file's kernel and initramfs. Whoever runs it has made the loopback
// device GRUBDevice of the file, and may have set GRUBArguments to a word for
// the kernel that only they know. Block lists are described in the GRUB manual,
// "Block list syntax"; they count 512 bytes.
func grubScript(commandLine string, linux, initrd *sectionHeader) (string, error) {
	words, err := grubWords(commandLine)
	if err != nil {
		return "", err
	}
	script := fmt.Sprintf("linux %s%s $%s\ninitrd %s\n",
		blockList(linux), words, GRUBArguments, blockList(initrd))
	if len(script) > GRUBSize {
		return "", fmt.Errorf("section .grub: %d bytes of commands, it holds %d (command line too long)",
			len(script), GRUBSize)
	}
	return script + strings.Repeat("\n", GRUBSize-len(script)), nil
}

func blockList(s *sectionHeader) string {
	return fmt.Sprintf("(%s)%d+%d", GRUBDevice, s.rawOffset/blockSize, s.rawSize/blockSize)
}

// grubWords quotes kernel arguments for GRUB's shell, with a space before each.
// GRUB puts a backslash before quotes and backslashes when it hands a command
// line to the kernel, so these would not arrive as UEFI machines see them.
func grubWords(commandLine string) (string, error) {
	if i := strings.IndexAny(commandLine, "'\"\\\x00\n\r"); i >= 0 {
		return "", fmt.Errorf("command line: %q cannot be passed on by GRUB", commandLine[i])
	}
	var b strings.Builder
	for _, word := range strings.Fields(commandLine) {
		fmt.Fprintf(&b, " '%s'", word)
	}
	return b.String(), nil
}
