// Hello is all there is in the container image that the tests make. It says
// hello; with the argument "wait" it stays until it is asked to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	fmt.Printf("hello from a container: %v\n", os.Args[1:])
	if slices.Contains(os.Args, "wait") {
		<-end
		fmt.Println("goodbye")
	}
}
