// SPDX-License-Identifier: GPL-2.0
/*
 * Compiled with the kernel's own flags, never linked or run: each line of the
 * assembly that starts with "->" tells a constant of that kernel. LINES is what
 * budget.sh generates: a line for each macro that might own a bit, and a line for
 * each bit and helper. A line that does not compile is left out there.
 */
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/pkeys.h>

/* For the tests: what a header might have said instead. */
#ifdef EDIT
#include EDIT
#endif

/*
 * What no header says by the name of a macro, from what the headers say in words.
 * SOFT: bits that the hardware leaves to software. SWP_ZERO: bits of a swap entry
 * that have to be 0, SWP_HARDWARE: that are not the kernel's to use. PTE_HERE, PMD_LEAF:
 * what an entry needs for its frame to be read as it is. FRAME: the bits of that,
 * where the helper that reads them is no constant.
 */
#if defined(CONFIG_X86)			/* asm/pgtable_types.h: "available for programmer" */
#ifdef CONFIG_X86_64
#define PTE_SOFT	(BIT_ULL(_PAGE_BIT_SOFTW1) | BIT_ULL(_PAGE_BIT_SOFTW2) | \
			 BIT_ULL(_PAGE_BIT_SOFTW3) | BIT_ULL(_PAGE_BIT_SOFTW4) | \
			 BIT_ULL(_PAGE_BIT_SOFTW5))
#else
#define PTE_SOFT	(_PAGE_SOFTW1 | _PAGE_SOFTW2 | _PAGE_SOFTW3 | _PAGE_SOFTW4)
#endif
#define PMD_SOFT	PTE_SOFT
#define PTE_HERE	_PAGE_PRESENT
#define PMD_LEAF	(_PAGE_PRESENT | _PAGE_PSE)
#define SWP_HARDWARE	_PAGE_KNL_ERRATUM_MASK
#elif defined(CONFIG_ARM64)		/* asm/pgtable-hwdef.h */
#define PTE_SOFT	PTE_SWBITS_MASK
#define PMD_SOFT	PTE_SOFT
#define SWP_ZERO	GENMASK_ULL(1, 0)	/* asm/pgtable.h: "present (must be zero)" */
#elif defined(CONFIG_RISCV)		/* asm/pgtable-bits.h: "Reserved for software" */
#define PTE_SOFT	_PAGE_SOFT
#define PMD_SOFT	PTE_SOFT
#define PTE_FRAME	_PAGE_PFN_MASK
#define PMD_FRAME	_PAGE_PFN_MASK
#define SWP_ZERO	_PAGE_LEAF		/* asm/pgtable.h: "_PAGE_LEAF (zero)" */
#elif defined(CONFIG_S390)		/* asm/pgtable.h: "All SW bits" */
#define PTE_SOFT	_PAGE_SW_BITS
#define PMD_SOFT	(~_SEGMENT_ENTRY_HARDWARE_BITS_LARGE)
#define PMD_LEAF	_SEGMENT_ENTRY_LARGE
#define PMD_FRAME	_SEGMENT_ENTRY_ORIGIN_LARGE
#elif defined(CONFIG_PPC64)		/* asm/book3s/64/pgtable.h: "Software bits" */
#define PTE_SOFT	(_RPAGE_SW0 | _RPAGE_SW1 | _RPAGE_SW2 | _RPAGE_SW3 | _RPAGE_RSV1)
#define PMD_SOFT	PTE_SOFT
#define SWP_HARDWARE	_PAGE_HPTEFLAGS		/* the same: "We filter HPTEFLAGS on set_pte" */
#elif defined(CONFIG_ARM_LPAE)		/* asm/pgtable-3level-hwdef.h names none of these */
#define PTE_SOFT	GENMASK_ULL(58, 55)
#define PMD_SOFT	PTE_SOFT
#define SWP_ZERO	GENMASK_ULL(1, 0)	/* asm/pgtable.h: the two last bits are 0 */
#elif defined(CONFIG_ARM)		/* asm/pgtable-2level.h: "the linux version", below the frame */
#define PTE_SOFT	(~PAGE_MASK)
#define PMD_SOFT	0
#define SWP_ZERO	GENMASK_ULL(1, 0)	/* asm/pgtable.h: the two last bits are 0 */
#endif
#ifndef PTE_HERE
#define PTE_HERE	0
#endif
#ifndef PMD_LEAF
#define PMD_LEAF	0
#endif
#ifndef PTE_FRAME
#define PTE_FRAME	0
#endif
#ifndef PMD_FRAME
#define PMD_FRAME	0
#endif
#ifndef SWP_ZERO
#define SWP_ZERO	0
#endif
#ifndef SWP_HARDWARE
#define SWP_HARDWARE	0
#endif

/* Digit by digit: small and positive is what every architecture prints alike. */
#define DIGIT(v, n)	"i"((int)(((unsigned long long)(v) >> (4 * (n))) & 15))
#define SAY(what, v) asm volatile("\n->" what \
	" %c0 %c1 %c2 %c3 %c4 %c5 %c6 %c7 %c8 %c9 %c10 %c11 %c12 %c13 %c14 %c15 " : : \
	DIGIT(v, 0), DIGIT(v, 1), DIGIT(v, 2), DIGIT(v, 3), \
	DIGIT(v, 4), DIGIT(v, 5), DIGIT(v, 6), DIGIT(v, 7), \
	DIGIT(v, 8), DIGIT(v, 9), DIGIT(v, 10), DIGIT(v, 11), \
	DIGIT(v, 12), DIGIT(v, 13), DIGIT(v, 14), DIGIT(v, 15))

/* Not every macro is a constant, not even every one that is an expression. */
#define NAME(n) do { \
	if (__builtin_constant_p(n)) \
		SAY("name - " #n " -", __builtin_choose_expr(__builtin_constant_p(n), (n), 0)); \
} while (0)
/* One bit, and whether what a helper makes of an entry depends on it */
#define PROBE(word, what, bit, x) do { \
	bool it_does = (x(1ULL << (bit))) != (x(0)); \
	if (__builtin_constant_p(it_does)) \
		SAY("probe " #word " " #what " " #bit, it_does); \
} while (0)
#define MASK(word, what, v) SAY("mask " #word " " #what " -", v)

#define PTE_PFN(v)	pte_pfn(__pte((v) | PTE_HERE))
#define PTE_SD(v)	pte_soft_dirty(__pte(v))
#define PTE_WP(v)	pte_uffd_wp(__pte(v))
#define PMD_PFN(v)	pmd_pfn(__pmd((v) | PMD_LEAF))
#define PMD_SD(v)	pmd_soft_dirty(__pmd(v))
#define PMD_WP(v)	pmd_uffd_wp(__pmd(v))
#define SWP_TYPE(v)	__swp_type(__pte_to_swp_entry(__pte(v)))
#define SWP_OFFSET(v)	__swp_offset(__pte_to_swp_entry(__pte(v)))
#define SWP_EXCL(v)	pte_swp_exclusive(__pte(v))
#define SWP_SD(v)	pte_swp_soft_dirty(__pte(v))
#define SWP_WP(v)	pte_swp_uffd_wp(__pte(v))
#define SWP_PRESENT(v)	(pte_present(__pte(v)) != 0)
#define SWP_PMD(v)	(pmd_present(__pmd(v)) != 0)
#define SWP_ONES	pte_val(__swp_entry_to_pte(__swp_entry(0, 0)))

void bits(void);
void bits(void)
{
	SAY("width vm_flags - -", 8 * sizeof(vm_flags_t));
	SAY("width pte - -", 8 * sizeof(pte_t));
	SAY("width pmd - -", 8 * sizeof(pmd_t));
	SAY("width swap - -", 8 * sizeof(pte_t));
	MASK(pte, soft, PTE_SOFT);
	MASK(pmd, soft, PMD_SOFT);
	MASK(pte, pfn, PTE_FRAME);
	MASK(pmd, pfn, PMD_FRAME);
	MASK(swap, zero, SWP_ZERO);
	MASK(swap, hardware, SWP_HARDWARE);
#ifdef LINES
#include LINES
#endif
}
