# SPDX-License-Identifier: GPL-2.0
# make               packages, source, series, two kernels, image, both boots, one table
# make test          everything, on both kernels (under an hour on two cores)
# make criu [MODES=] [FLAVORS=] [TESTS=] [AGAIN=1]
#                    the whole of CRIU's test suite on both kernels (hours; a run that
#                    was cut off goes on), then criu-scenarios
# make criu-scenarios [TESTS=]
#                    our own pre-dump chains on both kernels, checked byte by byte
# make check         the quick round (under five minutes once built)
# make exec KERNEL=patched|vanilla DIR=<folder> CMD='<command>' [TIMEOUT=] [OUT=] [ICOUNT=1]
# make shell KERNEL=patched|vanilla
# make series        the series as mails, in build/series
# make check-series [FULL=1] [PATCHES='3 7'] [ONLY='checkpatch boot lint'] [KEEP_GOING=1]
#                    every patch builds in every configuration, boots, and is clean
# make fuzz [KERNEL=patched|vanilla] [SECONDS=600] [SEED=] [KIND=kasan|kcsan] [FAULTS=1]
#                    random operations on memory, checked against a model after each one
# make bench         what it costs, on kernels without debug options: instructions per page,
#                    patched against vanilla, and what page faults wait for
# make bits [FORMAT=text|json|md|svg] [TARGETS='x86-64 arm64']
#                    who owns the bits of vm_flags and of page table entries, on each
#                    architecture; the picture is build/bits/bits.svg
# make bits-test     proves that it finds what is known
# make clean         removes build/
#
# ARCH=arm64 before the others means a guest of that architecture: with make itself,
# test, exec, shell, criu and what they need. tools/harness/arch/ has a file for each.
# CPU= is a CPU that QEMU knows.
# KERNEL_SRC=<git tree, tarball or folder> takes that instead of Debian's package, and
# CRIU_SRC= does the same for CRIU.
# NOBUILD=1 with exec and shell: boots what is built, looks at nothing else.

H := tools/harness

# As they were given: a $ in a command is the guest's.
override CMD := $(value CMD)
override APPEND := $(value APPEND)
export KERNEL DIR CMD TIMEOUT OUT ICOUNT ACCEL APPEND KERNEL_SRC BUILD JOBS TESTS FULL PATCHES ONLY KEEP_GOING
# SECONDS is a word of bash's own.
unexport SECONDS
export FUZZ_SECONDS := $(SECONDS)
export SEED KIND FAULTS ARCH CPU FORMAT TARGETS LIST CRIU_SRC MODES FLAVORS AGAIN

.NOTPARALLEL:
.PHONY: all criu criu-build criu-scenarios packages source kernels image selftests exec shell test check fuzz bench series check-series bits bits-ready bits-test clean help ready

all: kernels image selftests
	@$(H)/tests.sh contract

packages:
	@$(H)/packages.sh host

source: packages
	@$(H)/source.sh
	@$(H)/series.sh apply

kernels: source
	@$(H)/kernel.sh vanilla
	@$(H)/kernel.sh patched

image: packages
	@$(H)/image.sh

selftests: source image
	@$(H)/selftests.sh

# What exec and shell need: a path given as KERNEL= is somebody's own kernel.
ready:
ifeq ($(NOBUILD),)
	@$(H)/packages.sh host
	@$(H)/image.sh
ifneq ($(filter vanilla patched,$(KERNEL)),)
	@$(H)/source.sh
	@$(H)/series.sh apply
	@$(H)/kernel.sh $(KERNEL)
endif
endif

exec shell:
	@$(H)/vm.sh words $@
	@$(MAKE) --no-print-directory -s ready
	@$(H)/vm.sh $@

criu-build: image
	@criu-tests/build.sh

criu: kernels image criu-build
	@criu-tests/zdtm.sh
	@criu-tests/scenarios.sh

criu-scenarios: kernels image criu-build
	@criu-tests/scenarios.sh

test: kernels image selftests criu-build
	@$(H)/tests.sh test

check: kernels image selftests
	@$(H)/tests.sh check

fuzz: kernels image selftests
	@$(if $(KIND),$(H)/kernel.sh $(or $(KERNEL),patched) $(KIND))
	@$(H)/fuzz.sh

bench: source image selftests criu-build
	@$(H)/packages.sh bench
	@$(H)/kernel.sh vanilla bench
	@$(H)/kernel.sh patched bench
	@$(H)/bench.sh

series: source
	@$(H)/series.sh export

check-series: kernels image selftests
	@$(H)/check-series.sh

# What it says is often for a file: all else goes elsewhere.
bits-ready:
	@$(MAKE) --no-print-directory -s source >&2
	@$(H)/packages.sh bits >&2

bits: bits-ready
	@$(H)/budget/budget.sh

bits-test: bits-ready
	@$(H)/budget/test.sh

clean:
	rm -rf $(or $(BUILD),build)

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile
