package objectstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
)

// Environment of a child process.
const (
	childLocation = "QUIRE_OBJECTSTEST_LOCATION"
	childName     = "QUIRE_OBJECTSTEST_NAME"
)

const (
	racingProcesses = 4
	racedKeys       = 12
	racedBytes      = 3000
)

// Child does its part and ends the process if it is one that RunProcesses has started;
// else it does nothing.
func Child(open func(location string) (objects.Store, error)) {
	location, name := os.Getenv(childLocation), os.Getenv(childName)
	if location == "" {
		return
	}
	store, err := open(location)
	if err == nil {
		err = race(store, name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// race puts the keys that others put too, and prints those it won. It waits
// for the others by listing what each has put when it was ready.
func race(store objects.Store, name string) error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := store.Put(ctx, "ready/"+name, objects.Bytes(nil)); err != nil {
		return err
	}
	for ready := 0; ready < racingProcesses; {
		ready = 0
		for _, err := range store.List(ctx, "ready/") {
			if err != nil {
				return err
			}
			ready++
		}
		time.Sleep(time.Millisecond) // leaves the processor to those that start
	}
	for i := range racedKeys {
		key := racedKey(i)
		err := store.Put(ctx, key, objects.Bytes(racedBody(name)))
		if err == nil {
			fmt.Println(key)
		} else if !errors.Is(err, objects.ErrExists) {
			return err
		}
	}
	return nil
}

func racedKey(i int) string { return fmt.Sprintf("raced/%d/%02d", i%3, i) }

func racedBody(name string) []byte {
	return bytes.Repeat([]byte(name+" "), racedBytes/(len(name)+1))
}

// RunProcesses starts processes that put the same keys into the store that open
// opens at an empty location: each key is won once, and holds what its winner put.
// Each process is the test's program, whose TestMain calls Child.
func RunProcesses(t *testing.T, location string, open func(location string) (objects.Store, error)) {
	store, err := open(location)
	if err != nil {
		t.Fatal(err)
	}
	children := make([]*exec.Cmd, racingProcesses)
	outs := make([]bytes.Buffer, racingProcesses)
	for i := range children {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childLocation+"="+location, childName+"="+racer(i))
		c.Stdout, c.Stderr = &outs[i], os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() }) // if the test failed meanwhile
		children[i] = c
	}
	winner := map[string]string{}
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Fatalf("process %d: %v", i, err)
		}
		for _, key := range strings.Fields(outs[i].String()) {
			if other, won := winner[key]; won {
				t.Errorf("%s was put by %s and by %s", key, other, racer(i))
			}
			winner[key] = racer(i)
		}
	}
	for i := range racedKeys {
		key := racedKey(i)
		if got := read(t, store, key); got != string(racedBody(winner[key])) {
			t.Errorf("%s, won by %q, holds %.40q", key, winner[key], got)
		}
	}
}

func racer(i int) string { return fmt.Sprint("process", i) }
