// SPDX-License-Identifier: GPL-2.0
/*
 * Soft-dirty tracking: what clearing does to page table entries
 *
 * See soft_dirty.c for the rules, and for who holds which lock.
 */

#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/pagewalk.h>
#include <linux/sizes.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>
#include <linux/write_tracking.h>

#include <asm/tlbflush.h>

#include "internal.h"

/*
 * Is a page of @vma that may be pinned to be expected? It is written to without
 * a fault, so it must stay soft-dirty. To be called after the entry was
 * cleared: GUP-fast raises the pin count first and looks at the entry again
 * afterwards.
 */
static bool soft_dirty_may_be_pinned(struct vm_area_struct *vma)
{
	/* Pairs with the atomic that raises the pin count in GUP-fast. */
	smp_mb__after_atomic();
	return test_bit(MMF_HAS_PINNED, &vma->vm_mm->flags);
}

static bool soft_dirty_pinned(struct folio *folio)
{
	return folio && folio_maybe_dma_pinned(folio);
}

static bool soft_dirty_pte_pinned(struct vm_area_struct *vma,
				  unsigned long addr, pte_t pte)
{
	return soft_dirty_pinned(pte_devmap(pte) ? page_folio(pte_page(pte)) :
				 vm_normal_folio(vma, addr, pte));
}

/*
 * Migration of a pinned page will fail, and bring the page back. A device stores
 * to its own memory without a page fault.
 */
static bool soft_dirty_entry_pinned(struct vm_area_struct *vma,
				    swp_entry_t entry)
{
	return is_device_private_entry(entry) ||
	       (is_migration_entry(entry) && soft_dirty_may_be_pinned(vma) &&
		soft_dirty_pinned(pfn_swap_entry_folio(entry)));
}

/* A page can be unmapped while it is pinned. DAX pages are in no page cache. */
static bool soft_dirty_unmapped_pinned(struct vm_area_struct *vma,
				       unsigned long addr)
{
	struct folio *folio;
	bool pinned;

	if (!soft_dirty_may_be_pinned(vma))
		return false;
	if (vma_is_dax(vma))
		return true;

	folio = filemap_get_folio(vma->vm_file->f_mapping,
				  linear_page_index(vma, addr));
	if (IS_ERR(folio))
		return false;
	pinned = soft_dirty_pinned(folio);
	folio_put(folio);
	return pinned;
}

/* No marker means clean. */
static bool soft_dirty_drop_marker(struct vm_area_struct *vma,
				   unsigned long addr, pte_t pte)
{
	return pte_marker_uffd_wp(pte) ||
	       (pte_marker_written(pte) && !soft_dirty_unmapped_pinned(vma, addr));
}

/*
 * Xen's ptep_modify_prot_start() leaves the entry in place, where GUP-fast would
 * still find it. All others of x86 do just this.
 */
static pte_t soft_dirty_modify_start(struct vm_area_struct *vma,
				     unsigned long addr, pte_t *ptep)
{
	if (IS_ENABLED(CONFIG_PARAVIRT_XXL))
		return ptep_get_and_clear(vma->vm_mm, addr, ptep);
	return ptep_modify_prot_start(vma, addr, ptep);
}

static void soft_dirty_modify_commit(struct vm_area_struct *vma,
				     unsigned long addr, pte_t *ptep,
				     pte_t old, pte_t pte)
{
	if (IS_ENABLED(CONFIG_PARAVIRT_XXL))
		set_pte_at(vma->vm_mm, addr, ptep, pte);
	else
		ptep_modify_prot_commit(vma, addr, ptep, old, pte);
}

static __always_inline bool __soft_dirty_clear_pte(struct vm_area_struct *vma,
						   unsigned long addr,
						   pte_t *ptep)
{
	pte_t old, pte = ptep_get(ptep);

	if (likely(pte_present(pte))) {
		if (pte_uffd_wp(pte))
			return false;
		old = soft_dirty_modify_start(vma, addr, ptep);
		pte = old;
		if (likely(!soft_dirty_may_be_pinned(vma)) ||
		    !soft_dirty_pte_pinned(vma, addr, old))
			pte = pte_mkuffd_wp(old);
		soft_dirty_modify_commit(vma, addr, ptep, old, pte);
		return pte_write(old);
	}

	if (pte_none(pte))
		return false;

	if (is_pte_marker(pte)) {
		if (soft_dirty_drop_marker(vma, addr, pte))
			pte_clear(vma->vm_mm, addr, ptep);
	} else if (!pte_swp_uffd_wp(pte) &&
		   !soft_dirty_entry_pinned(vma, pte_to_swp_entry(pte))) {
		set_pte_at(vma->vm_mm, addr, ptep,
			   pte_swp_mkuffd_wp(pte_swp_wrprotect(pte)));
	}
	return false;
}

/**
 * soft_dirty_clear_pte - let one page be clean
 * @vma: a VMA that soft-dirty tracks
 * @addr: the page's address
 * @ptep: its page table entry
 *
 * Context: the caller holds the page table lock, and flushes the TLB before it
 * drops it, or has called flush_tlb_batched_pending() with it.
 * Return: true if the TLB has to be flushed.
 */
bool soft_dirty_clear_pte(struct vm_area_struct *vma, unsigned long addr,
			  pte_t *ptep)
{
	return __soft_dirty_clear_pte(vma, addr, ptep);
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static struct folio *soft_dirty_pmd_folio(struct vm_area_struct *vma,
					  unsigned long addr, pmd_t pmd)
{
	return pmd_devmap(pmd) ? page_folio(pmd_page(pmd)) :
				 vm_normal_folio_pmd(vma, addr, pmd);
}

/* As soft_dirty_clear_pte(), for a huge page. */
bool soft_dirty_clear_pmd(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp)
{
	pmd_t old, pmd = *pmdp;

	if (pmd_present(pmd)) {
		if (pmd_uffd_wp(pmd))
			return false;
		old = pmdp_invalidate_ad(vma, addr, pmdp);
		pmd = old;
		if (!soft_dirty_may_be_pinned(vma) ||
		    !soft_dirty_pinned(soft_dirty_pmd_folio(vma, addr, old)))
			pmd = pmd_mkuffd_wp(old);
		set_pmd_at(vma->vm_mm, addr, pmdp, pmd);
		return pmd_write(old);
	}

	if (is_pmd_migration_entry(pmd) &&
	    !soft_dirty_entry_pinned(vma, pmd_to_swp_entry(pmd)))
		set_pmd_at(vma->vm_mm, addr, pmdp,
			   pmd_swp_mkuffd_wp(pmd_swp_wrprotect(pmd)));
	return false;
}

/*
 * Unmap a huge page of a file, so that PTEs map it from now on. None of them is
 * there yet, which means clean; a pinned page needs markers that say otherwise.
 * The page table must be there when the file is truncated later. Without
 * memory for it the VMA is not tracked.
 */
static int soft_dirty_split_pmd(pmd_t *pmd, unsigned long addr,
				unsigned long next, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	unsigned long haddr = addr & HPAGE_PMD_MASK;
	struct folio *folio = NULL;
	spinlock_t *ptl;	/* of the PMD, then of the PTEs */
	bool pinned;
	pte_t *pte;
	int i;

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (!ptl)
		return 0;
	if (pmd_present(*pmd))
		folio = soft_dirty_pmd_folio(vma, haddr, *pmd);
	else if (is_pmd_migration_entry(*pmd))
		folio = pfn_swap_entry_folio(pmd_to_swp_entry(*pmd));
	/* No reference: one under migration has none to give. */
	pinned = soft_dirty_may_be_pinned(vma) && soft_dirty_pinned(folio);
	spin_unlock(ptl);

	__split_huge_pmd(vma, pmd, haddr, false, NULL);

	if (pte_alloc(vma->vm_mm, pmd)) {
		soft_dirty_untrack(vma);
	} else if (pinned) {
		pte = pte_offset_map_lock(vma->vm_mm, pmd, haddr, &ptl);
		for (i = 0; pte && i < HPAGE_PMD_NR; i++) {
			if (pte_none(ptep_get(pte + i)))
				set_pte_at(vma->vm_mm, haddr + i * PAGE_SIZE,
					   pte + i,
					   make_pte_marker(PTE_MARKER_WRITTEN));
		}
		if (pte)
			pte_unmap_unlock(pte, ptl);
	}
	return !vma_wrtracked(vma);
}

static const struct mm_walk_ops soft_dirty_split_ops = {
	.pmd_entry	= soft_dirty_split_pmd,
	.walk_lock	= PGWALK_WRLOCK,
};

void soft_dirty_split(struct vm_area_struct *vma)
{
	walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
			    &soft_dirty_split_ops, NULL);
}
#else
bool soft_dirty_clear_pmd(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp)
{
	return false;
}

void soft_dirty_split(struct vm_area_struct *vma)
{
}
#endif

#ifdef CONFIG_HUGETLB_PAGE
/* As soft_dirty_clear_pte(), for a page of hugetlb. */
bool soft_dirty_clear_huge_pte(struct vm_area_struct *vma, unsigned long addr,
			       pte_t *ptep)
{
	unsigned long size = huge_page_size(hstate_vma(vma));
	struct mm_struct *mm = vma->vm_mm;
	pte_t old, pte = huge_ptep_get(mm, addr, ptep);

	if (huge_pte_none(pte))
		return false;

	if (pte_present(pte)) {
		if (huge_pte_uffd_wp(pte))
			return false;
		old = huge_ptep_modify_prot_start(vma, addr, ptep);
		pte = old;
		if (!soft_dirty_may_be_pinned(vma) ||
		    !soft_dirty_pinned(page_folio(pte_page(old))))
			pte = huge_pte_mkuffd_wp(old);
		huge_ptep_modify_prot_commit(vma, addr, ptep, old, pte);
		return huge_pte_write(old);
	}

	if (is_pte_marker(pte)) {
		if (soft_dirty_drop_marker(vma, addr, pte))
			huge_pte_clear(mm, addr, ptep, size);
	} else if (is_hugetlb_entry_migration(pte) &&
		   !soft_dirty_entry_pinned(vma, pte_to_swp_entry(pte))) {
		set_huge_pte_at(mm, addr, ptep,
				pte_swp_mkuffd_wp(pte_swp_wrprotect(pte)), size);
	}
	return false;
}

static int soft_dirty_clear_hugetlb(pte_t *ptep, unsigned long hmask,
				    unsigned long addr, unsigned long next,
				    struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	bool *flush = walk->private;
	spinlock_t *ptl;	/* of the entry */

	ptl = huge_pte_lock(hstate_vma(vma), walk->mm, ptep);
	*flush |= soft_dirty_clear_huge_pte(vma, addr, ptep);
	spin_unlock(ptl);
	cond_resched();
	return 0;
}

static int soft_dirty_populate_hugetlb(struct vm_area_struct *vma,
				       unsigned long addr, bool written)
{
	struct hstate *h = hstate_vma(vma);
	struct mm_struct *mm = vma->vm_mm;
	spinlock_t *ptl;	/* of the entry */
	pte_t *pte;

	addr &= huge_page_mask(h);
	pte = huge_pte_alloc(mm, vma, addr, huge_page_size(h));
	if (!pte)
		return -ENOMEM;
	ptl = huge_pte_lock(h, mm, pte);
	if (written && huge_pte_none(huge_ptep_get(mm, addr, pte)))
		set_huge_pte_at(mm, addr, pte,
				make_pte_marker(PTE_MARKER_WRITTEN),
				huge_page_size(h));
	spin_unlock(ptl);
	return 0;
}
#else
#define soft_dirty_clear_hugetlb NULL

static int soft_dirty_populate_hugetlb(struct vm_area_struct *vma,
				       unsigned long addr, bool written)
{
	return 0;
}
#endif

static unsigned long soft_dirty_address(struct vm_area_struct *vma,
					pgoff_t index)
{
	return vma->vm_start + ((index - vma->vm_pgoff) << PAGE_SHIFT);
}

/*
 * See to it that a shared mapping has a page table for @addr, so that there is
 * a place to say that the page is written. With @written, say so if the page is
 * not mapped.
 */
static int soft_dirty_populate(struct vm_area_struct *vma, unsigned long addr,
			       bool written)
{
	struct mm_struct *mm = vma->vm_mm;
	spinlock_t *ptl;	/* of the entry */
	pte_t *pte;

	if (is_vm_hugetlb_page(vma))
		return soft_dirty_populate_hugetlb(vma, addr, written);

	pte = get_locked_pte(mm, addr, &ptl);
	if (!pte)
		return -ENOMEM;
	if (written && pte_none(ptep_get(pte)))
		set_pte_at(mm, addr, pte, make_pte_marker(PTE_MARKER_WRITTEN));
	pte_unmap_unlock(pte, ptl);
	return 0;
}

static int soft_dirty_mark_folio(struct vm_area_struct *vma,
				 struct folio *folio)
{
	pgoff_t index = max(folio->index, vma->vm_pgoff);
	pgoff_t end = min(folio_next_index(folio),
			  vma->vm_pgoff + vma_pages(vma));
	unsigned long step = vma_kernel_pagesize(vma) / PAGE_SIZE;
	int err = 0;

	for (; index < end && !err; index += step)
		err = soft_dirty_populate(vma, soft_dirty_address(vma, index),
					  true);
	return err;
}

/*
 * Reclaim unmaps a pinned page before it finds out, and a VMA that was not
 * tracked has no marker then. All that may be pinned in the page cache has to
 * be taken for written. Without memory for that the VMA is not tracked.
 */
void soft_dirty_mark_pinned(struct vm_area_struct *vma)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	pgoff_t index = vma->vm_pgoff;
	pgoff_t last = index + vma_pages(vma) - 1;
	struct folio_batch fbatch;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (vma_wrtracked(vma) &&
	       filemap_get_folios(mapping, &index, last, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			if (soft_dirty_pinned(fbatch.folios[i]) &&
			    soft_dirty_mark_folio(vma, fbatch.folios[i]))
				soft_dirty_untrack(vma);
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}
}

/**
 * soft_dirty_clear_hole - let a range without a page table be clean
 * @vma: a VMA that soft-dirty tracks
 * @addr: start of the range
 * @end: its end
 *
 * It is clean as it is. But if the file is truncated later, or a hole punched
 * into it, that has to be noted down wherever it has content today.
 *
 * Context: the caller holds the mmap lock, and no page table lock.
 * Return: 0 or -ENOMEM.
 */
int soft_dirty_clear_hole(struct vm_area_struct *vma, unsigned long addr,
			  unsigned long end)
{
	unsigned long step = max(PMD_SIZE, vma_kernel_pagesize(vma));
	pgoff_t index, last;

	if (!vma_soft_dirty_needs_ptes(vma))
		return 0;

	last = linear_page_index(vma, end - 1);
	for (; addr < end; addr = ALIGN(addr + 1, step)) {
		index = linear_page_index(vma, addr);
		if (!xa_find(&vma->vm_file->f_mapping->i_pages, &index, last,
			     XA_PRESENT))
			break;
		addr = max(addr, soft_dirty_address(vma, index));
		if (soft_dirty_populate(vma, addr, false))
			return -ENOMEM;
	}
	return 0;
}

static int soft_dirty_clear_no_ptes(unsigned long addr, unsigned long next,
				    int depth, struct mm_walk *walk)
{
	return soft_dirty_clear_hole(walk->vma, addr, next);
}

static int soft_dirty_clear_ptes(pmd_t *pmd, unsigned long addr,
				 unsigned long next, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl;	/* of the PMD, or of the PTEs */
	pte_t *start, *pte;
	bool flush = false;

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (ptl) {
		flush = soft_dirty_clear_pmd(vma, addr, pmd);
		spin_unlock(ptl);
		goto out;
	}

	start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start) {
		walk->action = ACTION_AGAIN;
		return 0;
	}
	/* Reclaim may have put off the flush that ends the stores to a page. */
	flush_tlb_batched_pending(walk->mm);
	arch_enter_lazy_mmu_mode();
	/* Much is clean as a whole: pass over it fast, until something is not. */
	for (pte = start; next - addr >= WRTRACK_MANY * PAGE_SIZE &&
	     wrtrack_clean(pte, WRTRACK_MANY); pte += WRTRACK_MANY)
		addr += WRTRACK_MANY * PAGE_SIZE;
	for (; addr < next; pte++, addr += PAGE_SIZE)
		flush |= __soft_dirty_clear_pte(vma, addr, pte);
	arch_leave_lazy_mmu_mode();
	pte_unmap_unlock(start, ptl);
	cond_resched();
out:
	*(bool *)walk->private |= flush;
	return 0;
}

static const struct mm_walk_ops soft_dirty_clear_ops = {
	.pmd_entry	= soft_dirty_clear_ptes,
	.hugetlb_entry	= soft_dirty_clear_hugetlb,
	.pte_hole	= soft_dirty_clear_no_ptes,
	.walk_lock	= PGWALK_RDLOCK,
};

/*
 * Clear all that is tracked from @from on, until somebody waits for the mmap
 * lock. The TLB is flushed when this returns; do_wp_page() knows that it may
 * not be yet.
 *
 * Returns 0, and in @from the address to go on from or 0 at the end; or -ENOMEM.
 *
 * Context: the caller holds the mmap lock for reading.
 */
int soft_dirty_walk(struct mm_struct *mm, unsigned long *from)
{
	bool flush = false, wanted = false;
	struct mmu_notifier_range range;
	unsigned long step, end, addr = *from;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	int err = 0;

	mmu_notifier_range_init(&range, MMU_NOTIFY_PROTECTION_VMA, 0, mm,
				addr, -1UL);
	mmu_notifier_invalidate_range_start(&range);
	inc_tlb_flush_pending(mm);

	vma_iter_init(&vmi, mm, addr);
	for_each_vma(vmi, vma) {
		if (!vma_soft_dirty_tracked(vma))
			continue;

		/* Some ms of work, and no huge page cut in two. */
		step = max3((unsigned long)SZ_32M, PMD_SIZE,
			    vma_kernel_pagesize(vma));
		addr = max(addr, vma->vm_start);
		for (; addr < vma->vm_end && !wanted && !err; addr = end) {
			end = min(vma->vm_end, ALIGN(addr + 1, step));
			err = walk_page_range_vma(vma, addr, end,
						  &soft_dirty_clear_ops, &flush);
			wanted = mmap_lock_is_contended(mm);
		}
		if (wanted || err)
			break;
	}

	/* Who else holds the mmap lock for reading may have put off a flush. */
	if (flush || mm_tlb_flush_nested(mm))
		flush_tlb_mm(mm);
	dec_tlb_flush_pending(mm);
	mmu_notifier_invalidate_range_end(&range);

	*from = vma ? addr : 0;
	return err;
}
