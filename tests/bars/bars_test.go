//go:build bars

// Package bars measures what issue and README promise about time and memory,
// each step in a process of its own so that its peak memory is its own.
//
//	go test -tags bars -v ./tests/bars
package bars

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

const (
	memoryLimit = 256 << 20 // bytes, with default options
	openLimit   = 2 * time.Second
)

// steps run in a child process, named by its environment.
var steps = map[string]func(dir string) error{
	"commit 4 GiB, kill":   commit4GiB,
	"open":                 open,
	"read all":             readAll,
	"verify":               verify,
	"load 1 GiB of 10 GiB": loadSparse,
	"log 256 MiB, kill":    fillLog,
	"overwrite ten times":  overwriteTenTimes,
}

func TestMain(m *testing.M) {
	if step := os.Getenv("QUIRE_BAR_STEP"); step != "" {
		began := time.Now()
		err := steps[step](os.Getenv("QUIRE_BAR_DIR"))
		report(step, began)
		if err != nil {
			fmt.Println("ERROR", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// report prints a step's figures for its parent.
func report(step string, began time.Time) {
	fmt.Printf("FIGURES %d %d\n", time.Since(began).Milliseconds(), peakMemory())
}

// peakMemory of this process in bytes.
func peakMemory() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(b), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

// run runs a step in a child and holds its peak memory to the limit.
func run(t *testing.T, step, dir string) time.Duration {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "QUIRE_BAR_STEP="+step, "QUIRE_BAR_DIR="+dir)
	out, err := cmd.CombinedOutput()
	var ms, peak int64
	for _, line := range strings.Split(string(out), "\n") {
		fmt.Sscanf(line, "FIGURES %d %d", &ms, &peak)
	}
	killed := cmd.ProcessState != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
	if err != nil && !killed || ms == 0 && peak == 0 {
		t.Fatalf("%s: %v\n%s", step, err, out)
	}
	t.Logf("%-24s %6d ms, peak memory %4d MiB", step, ms, peak>>20)
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if !strings.HasPrefix(line, "FIGURES") {
			t.Log("  ", line)
		}
	}
	if peak > memoryLimit {
		t.Errorf("%s: peak memory %d MiB, the limit is %d MiB", step, peak>>20, memoryLimit>>20)
	}
	return time.Duration(ms) * time.Millisecond
}

func openFast(t *testing.T, dir string) {
	t.Helper()
	if took := run(t, "open", dir); took > openLimit {
		t.Errorf("opening took %v, the limit is %v", took, openLimit)
	}
}

func TestLargeCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "commit 4 GiB, kill", dir)
	openFast(t, dir)
	run(t, "read all", dir)
	run(t, "verify", dir)
}

func TestSparseVolume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "load 1 GiB of 10 GiB", dir)
	openFast(t, dir)
	run(t, "read all", dir)
	run(t, "verify", dir)
}

func TestLongLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "log 256 MiB, kill", dir)
	openFast(t, dir)
}

var ctx = context.Background()

func page(b []byte, no uint64) []byte {
	binary.LittleEndian.PutUint64(b, no+1)
	return b
}

func commit4GiB(dir string) error {
	began := time.Now()
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		return err
	}
	if _, err := m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		b := make([]byte, 4096)
		for no := range uint64(1 << 20) {
			if err := v.WritePage(no, page(b, no)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	report("", began)
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func open(dir string) error {
	m, rep, err := txn.Open(dir, txn.Options{CheckpointEvery: -1})
	if err != nil {
		return err
	}
	fmt.Println("replayed", rep.Replayed, "entries,", rep.ReplayedBytes, "bytes, took", rep.Took)
	report("", time.Now().Add(-rep.Took))
	_ = m
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func readAll(dir string) error {
	m, _, err := txn.Open(dir, txn.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	return m.View(ctx, func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		n := 0
		for p, err := range v.Pages(0, 1<<40) {
			if err != nil {
				return err
			}
			if binary.LittleEndian.Uint64(p.Data) != p.No+1 {
				return fmt.Errorf("page %d is wrong", p.No)
			}
			n++
		}
		fmt.Println(n, "pages read")
		return nil
	})
}

func verify(dir string) error {
	rep, err := recovery.Verify(ctx, vfs.OS(), dir, recovery.VerifyOptions{})
	if err == nil && !rep.Clean {
		err = fmt.Errorf("verify: %v", rep.Problems)
	}
	return err
}

// loadSparse scatters 262,144 pages over 2.6 million, 256 a transaction.
func loadSparse(dir string) error {
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		return err
	}
	if _, err := m.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("v", txn.VolumeOptions{})
		return err
	}); err != nil {
		return err
	}
	b := make([]byte, 4096)
	for i := range uint64(1024) {
		if _, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			for j := range uint64(256) {
				no := (i*256 + j) * 7919 % 262144 * 10
				if err := v.WritePage(no, page(b, no)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return m.Close()
}

// fillLog writes single pages, inline, without a checkpoint.
func fillLog(dir string) error {
	began := time.Now()
	m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointBytes: 1 << 40, CheckpointEvery: -1, InlineBytes: 512 << 10})
	if err != nil {
		return err
	}
	if _, err := m.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("v", txn.VolumeOptions{})
		return err
	}); err != nil {
		return err
	}
	b := make([]byte, 4096)
	for i := uint64(0); m.Stats().LogBytes < 256<<20; i++ {
		if _, err := m.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			no := i * 7919 % 262144
			return v.WritePage(no, page(b, no))
		}); err != nil {
			return err
		}
	}
	if _, err := m.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("w", txn.VolumeOptions{})
		return err
	}); err != nil {
		return err
	}
	report("", began)
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}
